"""The REST API's routes: parse, call, map errors to answers."""
