"""The REST API: routes and middleware. They translate HTTP and make no decisions about lists."""
