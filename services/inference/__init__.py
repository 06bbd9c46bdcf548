"""The inference service: a REST API that publishes feedback and serves lists that follow it at once."""
