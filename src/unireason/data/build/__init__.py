"""Building a data set: units of work that any worker may do, and two passes in order."""
