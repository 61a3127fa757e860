"""The fault sweep: everything that can go wrong with a run, one thing at a time, and what must hold
after each (S1 to S9 of the design).

`points.py` says what can go wrong, `trial.py` lets one of them happen, `rules.py` looks at the
world afterwards, `sweep.py` does that with all of them on several local clouds. `make faults`.
"""
