"""What a run keeps in its folder while it goes on."""
