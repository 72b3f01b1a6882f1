"""Asking: the session state machine, two back ends that drive it, and the reasoner on top."""
