"""`alexnet plot`: figures of a net, a run, scores and statistics, as in the paper."""
