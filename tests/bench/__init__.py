"""What Frontload costs, in figures: `make bench`. Nothing here fails on a slow machine.

`figures.py` summarises and shows, `runtime_emulator.py` runs a function as Lambda would,
`functions.py` measures the functions, `whole_runs.py` the local cloud and the demo.
"""
