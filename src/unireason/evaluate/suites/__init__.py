"""Evaluation suites: published benchmarks from local files, and phantoms."""
