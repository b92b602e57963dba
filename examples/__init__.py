"""Sample subjects and the scripts that made them."""
