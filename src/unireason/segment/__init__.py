"""Frozen segmentation experts: a box and points become a mask."""
