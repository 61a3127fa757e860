"""The soak on the local cloud: `make soak-cloud`, and a short one as a test."""
