"""Many machines: the one room that knows Ray."""
