"""The parts of transformers as expressions: unbatched, one sequence; batch axes come in by the batching rule."""
