"""Tiny random models of the stock classes of each family, with their stock processors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from dycoke_cli.errors import ModelError
from dycoke_cli.models.resolve import check_release
from tests.exactness import in_float64
from tests.families.listed import LISTED
from tests.families.unlisted import UNLISTED as UNLISTED_MAKERS

Maker = Callable[[], tuple[Any, Any]]


def skip_unless_it_runs(name: str) -> None:
    """Skip the test where the installed transformers can't run a family."""
    try:
        check_release(name, kind(name))
    except ModelError as error:
        pytest.skip(str(error))


def _where_it_runs(name: str, maker: Maker) -> Maker:
    """Skip in place of making a model that the installed transformers can't run."""

    def make_or_skip() -> tuple[Any, Any]:
        skip_unless_it_runs(name)
        return maker()

    return make_or_skip


MAKERS = {name: _where_it_runs(name, maker) for name, maker in LISTED.items()}


def kind(family: str) -> str:
    """The `model_type` of a family of the matrix, which has Gemma 4 twice."""
    return family.removesuffix("_large")


@cache  # some 20 MB in all, and tests that take families in turns build none twice
def make(family: str, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    """A model with random weights, sharpened so that choices matter, and its processor.

    Args:
        dtype: float64, throughout (`in_float64`), or that of a model as it is stock.
    """
    torch.manual_seed(0)
    with torch.inference_mode(False):  # whoever asks first: the next one may need gradients
        model, processor = (MAKERS | UNLISTED_MAKERS)[family]()
        return sharpened(model, dtype), processor


def sharpened(model: Any, dtype: torch.dtype) -> Any:
    """A model with random weights whose choices matter; see `make`."""
    model = model.eval().float()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    with torch.no_grad():
        for layer in getattr(model.get_decoder(), "layers", ()):
            if not hasattr(layer, "self_attn"):
                continue
            for name, factor in (("q_proj", 20), ("k_proj", 20), ("v_proj", 6)):
                if getattr(layer.self_attn, name, None) is not None:
                    getattr(layer.self_attn, name).weight *= factor
    return in_float64(model) if dtype == torch.float64 else model.to(dtype)
