"""Asks AWS about points that this project knows only from AWS's documentation.

It is for users with an AWS account; the project never runs it there. docs/aws-check.md describes
what it does, costs and needs.

`run.py` goes through the groups of questions: `template.py`, `roles.py` (`uses.py` lists what the
functions do), `calls.py`, `forwarding.py`, `dry_runs.py`, `builder.py` and `restored.py`.
`table.py` collects the answers, `made.py` removes what a run made, and `local.py` replaces AWS by
the local cloud.
"""
