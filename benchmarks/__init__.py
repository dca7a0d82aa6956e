"""Benchmarks: ratios of one run, with thread count and spread. ``python -m benchmarks`` prints a table and JSON."""
