"""Custom CPU kernels: attention and linear layers that replace stock ones where they are faster.

`attention.py`, `linear.py` and `int8_linear.py` have the kernels; the first also registers
attention with transformers. `processor.py` caches times, `choice.py` selects the fastest for this
processor, and `replacing.py` times kernels and installs them in a model.
`quantize.py` decides which weights are quantized; bitsandbytes has the kernels for 4 bits, and all
for GPUs.
"""
