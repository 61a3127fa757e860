"""Asks AWS itself what this project only knows from its documentation.

For whoever has an AWS account; the project never runs it there. docs/aws-check.md says what it
does, costs and needs.

`run.py` goes through the groups of questions: `template.py`, `roles.py` (what the functions do is
in `uses.py`), `calls.py`, `forwarding.py`, `dry_runs.py`, `builder.py` and `restored.py`.
`table.py` holds the answers, `made.py` removes what was made, `local.py` puts the local cloud in
AWS's place.
"""
