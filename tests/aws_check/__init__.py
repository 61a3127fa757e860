"""`make aws-check` against the local cloud."""
