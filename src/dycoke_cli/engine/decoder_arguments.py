"""What the text decoder gets that has a row a token, and how rows are taken out of it."""

from __future__ import annotations

from typing import Any

import torch

from dycoke_cli.errors import UsageError

# [B, S, ...]: embeddings; what Gemma adds in each layer; ERNIE's kinds of tokens.
BY_ROW = ("inputs_embeds", "per_layer_inputs", "moe_mm_token_type_ids")
# Taken care of where they are made.
OTHERS = ("position_ids", "attention_mask")


def at_rows(kwargs: dict[str, Any], at: torch.Tensor) -> dict[str, Any]:
    """The arguments of which other rows are to be read, with these rows.

    Args:
        kwargs: of the text decoder, for S rows.
        at: `[B, R]`, int64: which.

    Returns:
        Those of BY_ROW that are there, `[B, R, ...]`.

    Raises:
        UsageError: an argument that seems to have a row a token, but isn't known.
    """
    sequence = kwargs["inputs_embeds"].shape[1]
    for name, value in kwargs.items():
        if torch.is_tensor(value) and sequence in value.shape and name not in (*BY_ROW, *OTHERS):
            raise UsageError(
                f"the text decoder gets an argument {name} with a row a token, which isn't known; "
                "--method none works"
            )
    return {
        name: take(kwargs[name], at.to(kwargs[name].device))
        for name in BY_ROW
        if kwargs.get(name) is not None
    }


def stretch(kwargs: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The arguments of a stretch of a prompt whose earlier rows are in the cache.

    Args:
        kwargs: of the text decoder, for the whole prompt.
        start: its first row.
        stop: behind its last row.

    Returns:
        Those of BY_ROW that are there, and `position_ids`, of these rows; the 2-D
        `attention_mask` of all rows up to them.
    """
    cut = {name: kwargs[name][:, start:stop] for name in BY_ROW if kwargs.get(name) is not None}
    if kwargs.get("position_ids") is not None:
        cut["position_ids"] = kwargs["position_ids"][..., start:stop]
    if kwargs.get("attention_mask") is not None:
        cut["attention_mask"] = kwargs["attention_mask"][:, :stop]
    return cut


def take(rows: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Of `rows[B, S, ...]` those at `at[B, R]`: `[B, R, ...]`."""
    return rows[torch.arange(len(at), device=at.device)[:, None], at]
