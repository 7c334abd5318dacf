"""Other programs' formats, which `alexnet export` writes and `alexnet import` reads: protobuf, Caffe, torchvision."""
