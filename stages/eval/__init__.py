"""`alexnet eval`: a run and a crop store to scores."""
