"""Settings shared by all tests."""

from hypothesis import settings

# A busy machine must not turn a slow example into a failure; pytest's own timeout stops what hangs.
settings.register_profile("unireason", deadline=None)
settings.load_profile("unireason")
