"""Questions about scenes: six families with options, and implicit ones."""
