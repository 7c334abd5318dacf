"""`alexnet contest`: the plan of the 2012 entry, and its results next to the paper's."""
