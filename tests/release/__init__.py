"""Makes and checks a release: `make dist`, `make dist-check` and `make arm64`.

`dist.py` makes the packages; `bootstraps.py` compiles, `packages.py` zips and sums, `template.py`
turns the template into one that needs no compiler, `sbom.py` lists what is compiled in,
`versions.py` reads version and date. `check.py` makes the packages again elsewhere and compares.
`emulation.py` runs arm64 programs on another machine. The tests deploy the release and compare
arm64's answers with x86_64's.
"""
