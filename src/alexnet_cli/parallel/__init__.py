"""Several processes, one net: who holds what, how they speak, how they are started, and what happens when one dies."""
