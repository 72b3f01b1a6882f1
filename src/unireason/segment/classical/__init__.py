"""The expert that needs no weights: intensities inside a box against those around it."""
