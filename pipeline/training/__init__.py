"""The trainer: DreamBooth on torch, diffusers, transformers and accelerate; knows no DVC, Prefect or MLflow."""
