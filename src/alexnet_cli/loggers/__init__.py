"""Whom a training tells of its progress, beside metrics.csv: `alexnet train --log NAME`."""
