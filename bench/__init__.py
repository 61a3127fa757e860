"""The benchmarks of Frontload: `make bench`. Nothing here fails on a slow machine.

`parts/` has one module for each part that is measured. `documents.py` defines the JSON that a part
returns, `frame.py` the arguments of every part, `summary.py` the headline figures of all parts, and
`figures.py` the spreads and tables on the screen. `image_sets.py` makes the images, and
`pulling.py` pulls them on a builder.
"""
