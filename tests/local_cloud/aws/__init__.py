"""EC2, SSM, ECR, KMS and STS as AWS behaves: moto's backends with time, failures, accounts that
are kept apart, and real work added.

`server.py` serves it, `dispatch.py` routes an AWS action to a handler of ours or to moto's,
`world.py` holds the state moto has no place for, and every other module owns one group of
actions. The account of a call is its access key id, the region that of its signature.
`control.py` is the tests' own endpoint under `/_local/`.
"""
