"""`alexnet strip`: a trained net without the state of its training."""
