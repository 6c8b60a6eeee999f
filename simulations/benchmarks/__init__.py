"""Benchmarks: each prints ratios measured in one run, on the machine it runs on."""
