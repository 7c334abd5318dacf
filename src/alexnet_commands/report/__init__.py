"""`alexnet report`: a training, or scores, as one page of HTML."""
