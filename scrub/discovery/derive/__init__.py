"""The component graph of a model, found in its expression."""
