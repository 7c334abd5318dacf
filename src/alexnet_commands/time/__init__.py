"""`alexnet time`: how fast a recipe trains here, layer by layer, beside what its products alone would allow."""
