"""Compression methods, one file each in `methods/`: functions on tensors, independent of models.

Importing them imports no torch, for the command line reads flags and help off their fields; the
functions that make tensors import it.
"""
