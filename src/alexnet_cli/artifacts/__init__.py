"""What the stages write and read. README.md in this folder lists every key, dtype, shape and unit."""
