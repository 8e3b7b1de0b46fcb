"""Compression methods: one file a method, functions on tensors, no knowledge of models.

Importing them imports no torch, for the command line reads flags and help off their fields; the
functions that make tensors import it.
"""
