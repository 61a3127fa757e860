"""The benchmarks' own arithmetic, tables and parts, and the local cloud's record that they read."""
