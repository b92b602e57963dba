"""The command `dreamtrace`: one module for each group of verbs. A command parses, calls a package, and prints."""
