"""dreamtrace: fine-tuned Stable Diffusion checkpoints that can be traced to their photos and parameters."""

__version__ = "0.1.0"
