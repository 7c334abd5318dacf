"""What the stages write and read. README.md beside this file lists every key, dtype, shape and unit."""
