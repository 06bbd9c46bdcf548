"""The models of a bundle, as they are served and as they are evaluated: they score films from a viewer's history."""
