"""Every function in a container by `sam local start-lambda`, and the state machines on top of it.

Run by `make sam-local` alone: it needs Docker. `docker_engine.py` finds or starts Docker,
`base_image.py` finds or makes the base image, `service.py` runs `sam local`, `relay.py` lets the
containers reach the local cloud, and `forwarding.py` lets MiniStack's Step Functions call them.
What was run on what is in `target/sam-local/report.json` (`report.py`).
"""
