"""What makes the layers fast: the same functions as in the modules of `net/`, as compiled loops or GPU kernels.

Nobody needs these to understand the net. Each is tested against the plain form.
"""
