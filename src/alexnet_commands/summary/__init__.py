"""`alexnet summary`: the net of a recipe, layer by layer."""
