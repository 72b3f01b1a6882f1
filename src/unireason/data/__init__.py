"""From masks to questions to grounded reasoning."""
