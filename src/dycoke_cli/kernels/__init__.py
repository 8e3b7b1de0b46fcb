"""Computing on CPUs in ways that suit some of them: the stock result, sooner there.

`models/cpu.py` says on which. `registry.py` gives our attention a name, by which
`models/fast_attention.py` makes a model use it;
`causal.py`, `frames.py` and `single.py` are one shape of attention each, exact but for rounding.
`packed_linear.py` and `int8_linear.py` are linear layers with weights as the processor wants them,
which `models/linear_layers.py` puts in place.
"""
