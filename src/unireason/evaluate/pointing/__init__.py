"""Implicit questions of a suite asked and scored in a folder that survives a kill."""
