"""What Frontload costs, in figures: `make bench`. Nothing here fails on a slow machine.

`parts/` holds what is measured, a module each; `documents.py` the JSON that a part makes,
`frame.py` what every part is given, `summary.py` the headline figures of all parts, `figures.py`
spreads and tables on the screen, `image_sets.py` makes the images that are pulled, `pulling.py`
pulls them on a builder.
"""
