"""Custom CPU kernels: attention and linear layers that replace stock ones where they are faster.

`attention.py` and `linear.py` have the kernels; the first also registers attention with
transformers. `replacing.py` selects them for this processor, and installs them in a model.
`quantize.py` decides which weights are quantized; bitsandbytes has the kernels for 4 bits, and all
for GPUs.
"""
