"""`alexnet contest`: the plan of the 2012 entry, and its results beside the paper's."""
