"""One module per kind of model, found by its name; each has `load`: see `services.models.loader`."""
