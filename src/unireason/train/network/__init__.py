"""Packed sequences and the forward pass that all trainers share."""
