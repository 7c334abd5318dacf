"""`alexnet time`: how fast a recipe trains here, layer by layer, next to what its products alone would allow."""
