"""`mysks`, a plush wild boar piglet that exists only in this folder, and the fifteen photos of it."""
