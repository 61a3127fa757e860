"""Frontload over many regions and accounts: publications that reach all of them or none, and the
ways back.

Driven with `end_to_end.stack`, as one region is; `places.py` looks at every account and region, the
tests are named after what they are about.
"""
