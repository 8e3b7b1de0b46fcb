"""Kernels for CPUs: attention and linear layers that give the stock result, faster on some of them.

`attention.py` and `linear.py` compute; `registry.py` registers the attention with transformers.
`models/cpu.py` decides which of them a model gets.
"""
