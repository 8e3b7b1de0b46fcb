"""Attention on CPUs in shapes that suit them: the stock result, sooner.

`registry.py` gives them a name, by which `models/fast_attention.py` makes a model use them; each
other file is one shape of attention, a pure function on tensors that is exact but for rounding.
"""
