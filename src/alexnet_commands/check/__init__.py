"""`alexnet check`: whether a pipeline's options can be meant, before any work."""
