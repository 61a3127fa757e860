"""The commands that make, check and install: see README.md."""
