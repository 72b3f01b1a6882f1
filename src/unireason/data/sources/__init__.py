"""Where cases with masks come from; one file a source."""
