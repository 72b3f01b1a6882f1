"""Training of grounded policies."""
