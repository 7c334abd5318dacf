"""`alexnet ensemble`: several members to their average."""
