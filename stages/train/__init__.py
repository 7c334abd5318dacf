"""`alexnet train`: crop stores and statistics to a run folder."""
