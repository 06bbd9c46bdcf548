"""From a request to a list: the use case."""
