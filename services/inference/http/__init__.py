"""The REST API: routes and what stands around them. They translate HTTP, and decide nothing about lists."""
