"""Frontload as users run it: the real template, Lambdas, state machines and builder script.

They are deployed to the local cloud. Its builders run a real containerd against a real registry.
`stack.py` drives the deployed stack, and `inspector.py` inspects what it did. Each test file is
named after its subject.
"""
