"""The net: a module for each kind of layer, the network as their sequence, initial values and the update rule.

Knows no devices, process groups or files. Read `network.py` first.
"""
