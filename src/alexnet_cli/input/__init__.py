"""The net's input: patches, flips and colour noise in training, the views at test time. Knows no files."""
