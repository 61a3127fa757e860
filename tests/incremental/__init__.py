"""Builds whose volume starts from the previous snapshot, against builds from nothing."""
