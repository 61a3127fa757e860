"""The fault sweep lets everything go wrong that can go wrong with a run, one thing at a time.

After each it checks the rules S1 to S9 of the design. `points.py` lists what can go wrong,
`trial.py` lets one of these happen, and `rules.py` checks the aftermath. `sweep.py` does
this for all of them on several local clouds. `make faults` runs it.
"""
