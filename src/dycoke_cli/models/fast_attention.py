"""Gives a loaded model the attention of `dycoke_cli.kernels`."""

from __future__ import annotations

from typing import Any

from dycoke_cli.kernels.registry import NAME, STOCK
from dycoke_cli.models.private_api import attention_implementation


def use_kernels(model: Any) -> bool:
    """Make a model that would run stock SDPA on a CPU run ours; whether it does.

    Others keep what they have: on accelerators, SDPA and FlashAttention are what is wanted.
    """
    if attention_implementation(model) != STOCK or model.device.type != "cpu":
        return False
    model.set_attn_implementation(NAME)
    return True
