"""What is trained: recipes, and the kinds of model, one module each in `kinds`."""
