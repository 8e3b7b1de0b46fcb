"""Compression methods: one file per method, functions on tensors, independent of models.

Importing them imports no torch, for the command line reads flags and help off their fields; the
functions that make tensors import it.
"""
