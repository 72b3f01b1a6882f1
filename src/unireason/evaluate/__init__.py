"""Measuring: held-out questions asked by real generation, scored with intervals."""
