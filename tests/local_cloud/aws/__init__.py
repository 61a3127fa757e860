"""EC2, SSM, ECR, KMS and STS as AWS behaves.

This package extends moto's backends with durations, failures, separate accounts and real work.
`server.py` serves it. `dispatch.py` routes an AWS action to a handler of ours or to moto's.
`cloud_state.py` has the state that moto has no place for. Every other module owns one group of
actions. The account of a call is its access key id; the region comes from its signature.
`control.py` is the tests' own endpoint under `/_local/`.
"""
