"""`alexnet ablate`: recipes compared over seeds."""
