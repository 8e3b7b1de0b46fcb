"""Compression methods: one file a method, pure functions on tensors, no knowledge of models."""
