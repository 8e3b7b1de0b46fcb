"""Computing on CPUs in ways that suit them: the stock result, sooner.

`registry.py` gives our attention a name, by which `models/fast_attention.py` makes a model use it;
`causal.py`, `frames.py` and `single.py` are one shape of attention each, exact but for rounding.
`int8_linear.py` is a linear layer in 8 bits, which `models/int8_layers.py` puts in place.
"""
