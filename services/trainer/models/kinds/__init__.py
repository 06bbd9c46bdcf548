"""One module per kind of model, found by its name: see `services.trainer.models.base.Kind`."""
