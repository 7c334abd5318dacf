"""Which pictures a source of any kind holds, in which order, and with which labels.

    sources = find_sources(config)
    sources.names[0], sources.labels[0], sources.pictures[0]       # a path, a class index, where its bytes lie

recognise.py   what the source is: class folders, ILSVRC's or other tars, Kaggle's layout, shards
splits.py      what parts of a data set are called
folders.py     indexes folders
tars.py        indexes archives, in place: nothing is extracted
webdataset.py  indexes shards
archives.py    archives of every kind, and unpacking those that can't be read in place
parquet.py     indexes data sets of Hugging Face
labels.py      label files, ground truths, devkits
tables.py      tables of labels, of any form
beside.py      tables that lie among the pictures
checks.py      what was expected against what was found
find.py        all of it together
"""

from alexnet_cli.sources.located import Located, read_located
from alexnet_stages.preprocess.sources.find import find_sources
from alexnet_stages.preprocess.sources.listing import Sources

__all__ = ["Located", "Sources", "find_sources", "read_located"]
