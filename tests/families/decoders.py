"""Tiny LLaVA-OneVisions around text decoders whose attention is more than a softmax of scores."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from dycoke_cli.models.load import LoadedModel
from tests.families.listed import llava_onevision
from tests.families.parts import ROUTED, TEXT
from tests.families.sessions import as_loaded
from tests.families.tiny import sharpened

WINDOW = 16
"""Tokens of a sliding window, fewer than a prompt has."""
_CAPPED = {"head_dim": 8, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 1.5}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_INDEX = {"index_topk": 12, "index_n_heads": 2, "index_head_dim": 8, "q_lora_rank": 16}
_LATENT = {
    "num_key_value_heads": 4, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}  # fmt: skip
DECODERS: dict[str, dict[str, Any]] = {
    "gemma2": _CAPPED,
    "vaultgemma": _CAPPED,
    "gpt_oss": _EXPERTS | {"head_dim": 8},
    "flint": {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2},
    "granite_swa": {"head_dim": 8},
    "granitemoe_swa": _EXPERTS | {"head_dim": 8},
    "mimo_v2_flash": ROUTED | {"head_dim": 8, "v_head_dim": 8},
    "hy_v4": ROUTED | _INDEX | _LATENT,
    "deepseek_v32": ROUTED | _INDEX | _LATENT | {"n_group": 1, "topk_group": 1},
    "deepseek_v4": ROUTED
    | _INDEX
    | {
        "num_key_value_heads": 1,
        "head_dim": 8,
        "qk_rope_head_dim": 4,
        "o_lora_rank": 8,
        "o_groups": 2,
        "mlp_layer_types": ["moe"] * 3,
        "hc_mult": 2,
    },
}
"""By `model_type` of the decoder what its configuration has beside `TEXT`."""
WHOLE = ("gemma2", "vaultgemma", "gpt_oss", "flint", "granite_swa", "granitemoe_swa")
"""Those whose layers may all attend to every token, and not only to a window."""


@cache
def make_around(kind: str, *, whole: bool, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    """A model with random weights, sinks among them, and its processor."""
    more = {"layer_types": ["full_attention"] * TEXT["num_hidden_layers"]} if whole else {}
    text = TEXT | {"sliding_window": WINDOW, "pad_token_id": 0} | DECODERS.get(kind, {}) | more
    torch.manual_seed(0)
    model, processor = llava_onevision(text | {"model_type": kind})()
    with torch.no_grad():
        for name, sinks in model.get_decoder().named_parameters():
            if name.endswith("sinks"):
                sinks.normal_(1, 1)
    return sharpened(model, dtype), processor


def loaded_around(kind: str, *, whole: bool) -> LoadedModel:
    """The same as a loaded model."""
    return as_loaded(kind, *make_around(kind, whole=whole))
