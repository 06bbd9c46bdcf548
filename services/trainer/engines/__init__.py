"""Where models are trained."""
