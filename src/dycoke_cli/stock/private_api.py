"""Private or undocumented API of transformers and torch in use, and the versions checked.

- `config._attn_implementation` (read only; set through the public `set_attn_implementation`):
  5.17.0, 5.23.0, 5.24.0. There is no public getter.
- `transformers.initialization.no_init_weights`: 5.17.0, 5.23.0, 5.24.0. Its name is public, but no
  page tells of it; without it a model is drawn at random, three to four times more slowly, before
  it is filled.
- `torch.ops.onednn.qlinear_prepack` and `.qlinear_pointwise`, what torch.compile makes of quantized
  linear layers on CPUs, and `torch.ops.quantized.embedding_bag_byte_prepack` (in
  `kernels/int8_linear.py`): torch 2.15. Where they are missing, or wrong with the largest bytes,
  the next ones take their place.
- `torch.ops.quantized.linear_prepack` and `.linear_dynamic` (in `kernels/int8_linear.py`): torch
  2.15. No page tells of them. `torch.quantize_per_channel`, whose tensors they take, is public, but
  torch will drop it some day (pytorch issue 184982).
- `torch.ops.mkldnn._reorder_linear_weight`, `._linear_pointwise`, `._is_mkldnn_bf16_supported` (in
  `kernels/linear.py`): torch 2.15. What torch.compile makes of linear layers on CPUs; the
  public `torch.utils.mkldnn` doesn't lay weights out. Where they are missing, layers stay stock.
- `Module._forward_hooks`, `._forward_pre_hooks`, `._compiled_call_impl` and the global hooks of
  `torch.nn.modules.module` (read only): torch 2.15. What is hooked onto a module has no public
  name.
- `torch.cpu._is_amx_tile_supported`: torch 2.8 up to where the public `torch.cpu.get_capabilities`
  says the same (2.15 has both, and one is made from the other).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from transformers.initialization import no_init_weights


def without_initialisation() -> AbstractContextManager[Any]:
    """Within the block, stock models are built without weights being drawn or tied."""
    context: AbstractContextManager[Any] = no_init_weights()
    return context


def attention_implementation(module: Any) -> str:
    """The name of the attention implementation that a model runs with."""
    return module.config._attn_implementation


def has_amx() -> bool:
    """Whether the CPU multiplies matrices in tiles (AMX), which torch then uses."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:
        return torch.cpu._is_amx_tile_supported()
    return bool(capabilities().get("amx_tile", False))  # other architectures don't name it


def forward_hooks(module: nn.Module) -> list[Any]:
    """All that is called before and behind a module's forward, of this module or of every one."""
    found = (
        module._forward_pre_hooks,
        module._forward_hooks,
        nn.modules.module._global_forward_pre_hooks,
        nn.modules.module._global_forward_hooks,
    )
    return [hook for hooks in found for hook in hooks.values()]


def has_stock_forward(module: nn.Module) -> bool:
    """Whether a module is computed by its class's forward: neither replaced nor compiled."""
    return "forward" not in vars(module) and module._compiled_call_impl is None
