"""`alexnet sample`: real pictures without a download, to try the whole pipeline on."""
