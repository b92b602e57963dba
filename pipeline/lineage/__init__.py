"""The record of a checkpoint: which photos, parameters, base and code made it, and the way back to them."""
