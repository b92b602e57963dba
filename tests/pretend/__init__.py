"""A pretend accelerator: the tests that are marked `gpu` run on it where there is no GPU."""
