"""Runs `make demo` as a user does."""
