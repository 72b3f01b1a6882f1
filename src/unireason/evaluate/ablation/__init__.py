"""Ablations: a grid of training runs, several seeds each, asked the same questions, as one table with intervals."""
