"""Estimates from numbers per reference: intervals, comparisons, variance, tables."""
