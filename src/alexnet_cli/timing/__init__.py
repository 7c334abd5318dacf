"""How fast a net trains here, layer by layer, and how fast its convolutions and matrix products alone would be."""
