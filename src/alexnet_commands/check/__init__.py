"""`alexnet check`: whether a pipeline's options are valid, before any work."""
