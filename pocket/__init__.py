"""How the embedded base model `pocket` was made: its world, its networks and their training."""
