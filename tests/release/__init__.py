"""Tests of `tools/release`, and of the release that `make dist` made: `make arm64`.

They deploy the release and compare arm64's answers with x86_64's. `emulation.py` runs arm64
programs on another machine.
"""
