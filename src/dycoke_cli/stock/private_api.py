"""Private or undocumented APIs of transformers and torch, with the versions they were checked on.

- `config._attn_implementation` (read only; set through the public `set_attn_implementation`):
  5.17.0, 5.23.0, 5.24.0. There is no public getter.
- `ALL_ATTENTION_FUNCTIONS` and `eager_attention_forward` among the globals of a modelling file (in
  `stock/forward.py`): 5.24.0. Eager attention isn't in the public registry.
- `transformers.initialization.no_init_weights`: 5.17.0, 5.23.0, 5.24.0. Its name is public, but it
  isn't documented. Without it a model is initialised at random before it is filled, which takes
  three to four times as long.
- `torch.ops.onednn.qlinear_prepack` and `.qlinear_pointwise`, to which torch.compile lowers
  quantized linear layers on CPUs, and `torch.ops.quantized.embedding_bag_byte_prepack` (in
  `kernels/linear.py`): torch 2.15. If they are missing, or wrong for the largest values, the
  next ones replace them.
- `torch.ops.mkldnn._nbytes`, `.data_ptr` and `._get_mkldnn_serialized_md`, by which torch.compile
  saves packed weights, and `aoti_torch_create_tensor_from_blob_v2` of its C interface with
  `torch._C._aoti.alloc_tensor_by_stealing_from_void_ptr`, by which it makes tensors of them (in
  `kernels/quantize.py`): torch 2.8, 2.15. Without the last two, zeros are packed and
  overwritten.
- `torch.ops.quantized.linear_prepack` and `.linear_dynamic` (in `kernels/linear.py`): torch
  2.15, undocumented. `torch.quantize_per_channel`, which makes their tensors, is public but
  deprecated (pytorch issue 184982). `torch._make_per_channel_quantized_tensor` makes them from
  integers that were rounded before, which no public function does.
- `torch.ops.mkldnn._reorder_linear_weight`, `._linear_pointwise`, `._is_mkldnn_bf16_supported` (in
  `kernels/linear.py`): torch 2.15. torch.compile lowers linear layers on CPUs to them; the public
  `torch.utils.mkldnn` doesn't pack weights. If they are missing, layers stay stock.
- `Module._forward_hooks`, `._forward_pre_hooks`, `._compiled_call_impl` and the global hooks of
  `torch.nn.modules.module` (read only): torch 2.15. There is no public way to list a module's
  hooks.
- `coerce` of `typer._coercion.RuntimeParam` (in `cli/pages.py`, which implements it).
- The logger `torch.utils._pytree` (in `stock/quiet.py`), by its name.

Of Ray: `runs/ray.py`. Only tests use these:

- `torch.utils._python_dispatch.TorchDispatchMode` and `torch.Tensor._make_wrapper_subclass`, to see
  or replace every operation; `tree_leaves`, `tree_map_only` of `torch.utils._pytree`: torch 2.15.
- `torch._subclasses.fake_tensor.FakeTensorMode`, which torch's documentation names, to have tensors
  of a GPU without one: torch 2.15.
- `torch._C._cuda_isInBadFork`: torch 2.15, of builds with CUDA.
- `huggingface_hub.utils._cache_manager.HF_HUB_CACHE`, the default of `scan_cache_dir`.

Only training uses `torch.ops.aten._softmax_backward_data`, which autograd calls.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import transformers
from torch import nn
from transformers import AutoModelForImageTextToText, GenerationMixin
from transformers.initialization import no_init_weights


def without_initialisation() -> AbstractContextManager[Any]:
    """Context in which stock models are built without initialising or tying weights."""
    context: AbstractContextManager[Any] = no_init_weights()
    return context


def attention_implementation(module: Any) -> str:
    """Name of the attention implementation of a model."""
    return module.config._attn_implementation


def forward_hooks(module: nn.Module) -> list[Any]:
    """All hooks that run before or after a module's forward, including global ones."""
    registries = (
        module._forward_pre_hooks,
        module._forward_hooks,
        nn.modules.module._global_forward_pre_hooks,
        nn.modules.module._global_forward_hooks,
    )
    return [hook for hooks in registries for hook in hooks.values()]


def has_stock_forward(module: nn.Module) -> bool:
    """Whether a module runs the forward of its class, neither replaced nor compiled."""
    return "forward" not in vars(module) and module._compiled_call_impl is None


# Name of the KV cache in the arguments and outputs of a stock forward.
#
# It is `cache` from transformers 5.24 on, and `past_key_values` before. Model code may use the old
# name on any release.


CACHE_NAMES = ("cache", "past_key_values")
"""All names in use, the newer one first."""
_PARAMETERS = inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters

CACHE_ARGUMENT = next(name for name in CACHE_NAMES if name in _PARAMETERS)
"""Name in the installed release."""


def cache_name(values: Mapping[str, Any]) -> str:
    """Name of the KV cache in `values`; the installed release's name if it has none."""
    return next((name for name in CACHE_NAMES if name in values), CACHE_ARGUMENT)


def cache_of(values: Mapping[str, Any]) -> Any:
    """KV cache in keyword arguments of a forward or in a stock output; None if there is none."""
    return values.get(cache_name(values))


# Stock class of a model that takes videos or images and generates text.


# Releases before the first family with audio input lack this class.
_MULTIMODAL = getattr(transformers, "AutoModelForMultimodalLM", AutoModelForImageTextToText)


def text_part(config: Any) -> Any:
    """Configuration of the part of a model that generates text.

    Omni models consist of a "thinker", which generates text, and a "talker" for speech.
    """
    return getattr(config, "thinker_config", config)


def auto_class(config: Any) -> Any:
    """The `AutoModel…` class for a configuration."""
    image_text = type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return AutoModelForImageTextToText if image_text else _MULTIMODAL


def shows_videos(config: Any) -> bool:
    """Whether transformers has a model class with video or image input for a configuration."""
    mappings = ("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING", "MODEL_FOR_MULTIMODAL_LM_MAPPING")
    return any(type(config) in getattr(transformers, name, ()) for name in mappings)
