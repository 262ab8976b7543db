"""The search for the resampling that a hypothesis allows and that hurts most."""
