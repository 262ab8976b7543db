"""Evaluation by distinct pairs of a subexpression and the rows that it reads."""
