"""Reports: one self-contained HTML file each, and tables beside it."""
