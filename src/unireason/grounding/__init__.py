"""The shared grounded interface: boxes in text, crops, prompts and traces. Nobody else parses a box or cuts a crop."""
