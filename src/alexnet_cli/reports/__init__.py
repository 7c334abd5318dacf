"""Reports: one self-contained HTML file each, and its tables."""
