"""What a run is: what was chosen, where its photos come from, its workspace, and DVC at work in it."""
