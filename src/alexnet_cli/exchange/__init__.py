"""Other programs' formats, which `alexnet export` writes and `alexnet import` reads: Caffe, torchvision."""
