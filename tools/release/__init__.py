"""Makes a release and makes it again: `make dist` and `make dist-check`.

`dist.py` makes the packages; `bootstraps.py` compiles, `packages.py` zips and sums, `template.py`
turns the template into one that needs no compiler, `sbom.py` lists what is compiled in,
`versions.py` reads version and date. `check.py` makes the packages again elsewhere and compares.
"""
