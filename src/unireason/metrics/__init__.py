"""Pure functions that compare an answer with the truth: boxes, masks, circles, letters and intervals."""
