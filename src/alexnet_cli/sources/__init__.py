"""What lies among people's pictures, and in their archives: shared by all that read pictures."""
