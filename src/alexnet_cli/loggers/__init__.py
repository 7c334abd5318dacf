"""Where a training reports its progress, beside metrics.csv: `alexnet train --log NAME`."""
