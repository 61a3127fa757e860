"""EC2, SSM, ECR and STS as AWS behaves: moto's backends with time, failures and real work added.

`server.py` serves it, `dispatch.py` routes an AWS action to a handler of ours or to moto's,
`world.py` holds the state moto has no place for, and every other module owns one group of
actions. `control.py` is the tests' own endpoint under `/_local/`.
"""
