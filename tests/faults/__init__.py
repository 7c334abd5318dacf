"""Faults tried from outside: kills, I/O errors, full disks, flipped bits, strangers' folders, stops, swaps."""
