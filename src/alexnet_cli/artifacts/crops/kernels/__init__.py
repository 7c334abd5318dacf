"""What makes reading crops fast: compiled loops."""
