"""Traces as self-contained pages and still pictures. Nothing here runs a network or reads an image file."""
