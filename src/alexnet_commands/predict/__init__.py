"""`alexnet predict`: what a trained net says of pictures."""
