"""Hypotheses and models as trees for the terminal, colored by draw."""
