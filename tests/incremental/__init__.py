"""Builds whose volume starts from the previous snapshot, compared with full builds."""
