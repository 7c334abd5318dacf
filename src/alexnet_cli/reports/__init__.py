"""Reports: one HTML file each, which needs nothing from elsewhere, and tables beside it."""
