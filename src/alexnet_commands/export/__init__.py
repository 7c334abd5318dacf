"""`alexnet export`: a trained net in other programs' formats."""
