"""Runs every function in a container of `sam local start-lambda`, and the state machines on top.

Only `make sam-local` runs this, because it needs Docker. `docker_engine.py` finds or starts Docker,
`base_image.py` finds or makes the base image, `service.py` runs `sam local`, `relay.py` lets the
containers reach the local cloud, and `forwarding.py` lets MiniStack's Step Functions call them.
`report.py` writes what ran on what to `target/sam-local/report.json`.
"""
