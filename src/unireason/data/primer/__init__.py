"""The lessons of the built-in checkpoint: six small question families in fixed wordings, asked about phantom scenes.

What a tiny network can learn on one core sets the vocabulary here. Data sets for real models come from the builder next door.
"""
