"""Does an answer come from the image? The same questions with the evidence taken away, exchanged or given."""
