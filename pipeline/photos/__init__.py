"""From a folder of photos with captions to a checked, split and resized training set."""
