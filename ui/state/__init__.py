"""The state of a visit: viewer, address, lists shown, feedback given and its undo."""
