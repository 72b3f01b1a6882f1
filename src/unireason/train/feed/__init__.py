"""From the folders of data sets to what a training step needs: cases, pictures, visual features, and who comes when."""
