"""Frontload as its users meet it: the real template, Lambdas, state machines and builder script,
deployed into the local cloud, whose builders run a real containerd against a real registry.

`stack.py` drives the deployed stack, `world.py` looks at what it did, the tests are named after
what they are about.
"""
