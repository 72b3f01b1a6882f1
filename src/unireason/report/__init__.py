"""Traces and checked data sets as self-contained pages and still pictures. Nothing here runs a network."""
