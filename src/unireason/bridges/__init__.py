"""Bridges to other evaluation kits: exports of suites, and model classes by which they ask our models."""

KITS = ("vlmevalkit", "lmms-eval")
"""Kits that suites can be exported to; model classes exist for these and for MedEvalKit."""
