"""What a run is made of: frozen dataclasses filled from TOML. Nothing here imports torch."""
