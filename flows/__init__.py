"""Prefect flows: when and where the stages run."""
