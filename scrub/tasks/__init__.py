"""Tasks: a small problem with its data, exact features of it, and a trained model that solves it."""
