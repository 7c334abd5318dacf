"""Where a training reports its progress, in addition to metrics.csv: `alexnet train --log NAME`."""
