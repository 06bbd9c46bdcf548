"""The inference service: a REST API that publishes feedback events and serves lists that reflect them at once."""
