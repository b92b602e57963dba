"""Finding and loading base models: embedded in the repository, on the hub, or in a folder."""
