"""Tiny models of families that the table doesn't know, with the layout that is found."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version

from dycoke_cli import VideoSession
from dycoke_cli.models.families import Family, remember
from dycoke_cli.models.families.discovery import find_layout
from tests.families.sessions import as_loaded
from tests.families.stock import clip, processed
from tests.families.tiny import UNLISTED_MAKERS, make
from tests.natural import Pictures

newest = pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.24"),
    reason="older releases of transformers don't have all of these families",
)

# Why no method can be attached; the others are found.
NONE_ONLY = {
    "minimax_m3_vl": "its vision side mixes frames",
    "dots3_note": "its layers look tokens up in an index",
    "glm5_next": "its layers look tokens up in an index",
    "hy_v4_vl": "its layers look tokens up in an index",
    "qwen4_exp": "its layers look tokens up in an index",
    "nemotron_h_omni": "its text decoder isn't a stack of layers",
}

# Layers that keep no row a token: merging before the language model is what they can serve.
MERGING_ONLY = (
    "exaone4_5", "lfm3_vl", "muse_glimmer", "muse_spark", "minicpmv4_6", "minicpmv4_7",
    "minicpm_ocr",
)  # fmt: skip

FOUND = [name for name in UNLISTED_MAKERS if name not in NONE_ONLY]


@cache
def found(family: str, dtype: torch.dtype = torch.float64) -> tuple[Any, Any, Family]:
    """A tiny model, its processor, and what the search finds of it."""
    model, processor = make(family, dtype)
    layout = find_layout(model, processor, family)
    remember(model.config, layout)
    return model, processor, layout


def stock_inputs(family: str, model: Any, processor: Any, shown: Pictures) -> dict[str, Any]:
    """What a user of stock transformers gives to `generate()`."""
    several = len(shown.frames) > 1
    if not several and found(family, model.dtype)[2].least_frames == 2:
        shown = Pictures(shown.frames.repeat(2, 0), shown.timestamps_s * 2)
    # Frames a second: what the positions of these are made of.
    options = {"fps": 4.0} if "omni" in family and several else {}
    made = processed(family, processor, shown, return_metadata=True, **options)
    return {
        name: value.to(model.dtype) if value.is_floating_point() and value.dim() > 1 else value
        for name, value in made.items()
    }


def words(processor: Any, tokens: torch.Tensor) -> str:
    return processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()


def session(family: str, frames: int, dtype: torch.dtype = torch.float64) -> VideoSession:
    return VideoSession(as_loaded(family, *found(family, dtype)), clip(frames))
