"""Conformance of the model families: each against Hugging Face, on tiny models of random weights."""
