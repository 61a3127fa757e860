"""Frontload in many regions and accounts: publications that reach all or none, and rollbacks.

`end_to_end.stack` drives the stack, as it does for one region. `places.py` inspects every account
and region. Each test file is named after its subject.
"""
