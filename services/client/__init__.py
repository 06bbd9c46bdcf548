"""The typed client of the REST API: one class per resource, one hierarchy of errors. Imports only the contracts."""
