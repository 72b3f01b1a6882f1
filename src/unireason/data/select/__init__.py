"""Which patients go into which split, which pictures are the same picture, which questions are kept."""
