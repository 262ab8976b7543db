"""Balanced parentheses: data with near misses, exact features, and the expression of the classifier that ships."""
