"""`alexnet features`: what a layer of a trained net gives for each picture of a store."""
