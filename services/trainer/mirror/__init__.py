"""The optional mirror of the model registry in MLflow: derived from PostgreSQL and the bundles, never read back."""
