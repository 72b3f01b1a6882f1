"""Checks of a built data set: what it says is recomputed from the masks by other code than the builder's."""
