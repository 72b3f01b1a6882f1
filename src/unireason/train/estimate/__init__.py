"""What a run will cost before it is started: tokens, operations, bytes, hours. Nothing here imports torch."""
