"""The search for a recipe: what to try, how to choose, and whether it holds on the report's pictures."""
