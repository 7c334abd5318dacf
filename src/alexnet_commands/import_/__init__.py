"""`alexnet import`: another program's AlexNet as a checkpoint. The folder has a name that Python can write."""
