"""Kernels for CPUs: attention and linear layers that give the stock result, faster on some of them.

`attention.py`, `linear.py` and `int8_linear.py` compute; `attention_interface.py` registers the
attention with transformers. `choice.py` picks those that `timing.py` measured to be fastest on this
processor (`processor.py` keeps the times), and `replacing.py` puts them into a model. `quantize.py`
says which weights may be rounded; those in 4 bits, and all on a GPU, are bitsandbytes'.
"""
