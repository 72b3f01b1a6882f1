"""Scores for reinforcement learning. Each function returns its named parts, so that a log can show what moved."""
