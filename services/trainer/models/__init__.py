"""Recipes and the kinds of model, one module each in `kinds`."""
