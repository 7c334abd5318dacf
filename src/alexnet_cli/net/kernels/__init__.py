"""What makes the layers fast: the same functions as in the modules of `net/`, as compiled loops or GPU kernels.

They are not needed to understand the net. Each is tested against the plain form.
"""
