"""Deterministic image generation: the same picture for the same prompt and seed, whatever is drawn beside it."""
