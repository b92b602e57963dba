"""The studio: pages for people who train a model, from photos to a champion, on this machine."""
