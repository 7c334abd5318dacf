"""Several processes, one net: who holds what, how they communicate and start, and what happens when one dies."""
