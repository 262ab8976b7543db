"""Exact expected losses, by elimination of draws."""
