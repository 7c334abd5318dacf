"""`alexnet recipe`: the recipes there are, one of them resolved, two of them compared."""
