"""What makes the input fast: the same functions as in `input/patches.py`, as compiled loops or GPU kernels."""
