"""`alexnet preprocess`: pictures to a crop store."""
