"""Custom CPU kernels: attention and linear layers that replace stock ones where they are faster.

`attention.py`, `linear.py` and `int8_linear.py` have the kernels; `attention_interface.py`
registers attention with transformers. `timing.py` measures them, `processor.py` caches the times,
`choice.py` selects the fastest for this processor, and `replacing.py` installs them in a model.
`quantize.py` decides which weights are quantized; bitsandbytes has the kernels for 4 bits, and all
for GPUs.
"""
