"""The library and command host of `alexnet`: network, artifacts on disk, loaders, devices."""

__version__ = "0.1.0"
