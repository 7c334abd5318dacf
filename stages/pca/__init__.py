"""`alexnet pca`: a crop store to its statistics."""
