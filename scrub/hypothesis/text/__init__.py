"""Hypotheses as text, and back."""
