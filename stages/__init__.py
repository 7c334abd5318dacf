"""One folder per pipeline stage: its options (config.py), its command (command.py), its work (run.py)."""
