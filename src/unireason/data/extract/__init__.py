"""Masks become scenes: boxes, sizes, places, parts, neighbours and key points of every structure."""
