"""Tests that need a CUDA device: `make gpu` runs those that carry the mark `cuda`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

NEEDS_CUDA = (
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
)


def needs_cuda(test: Any) -> Any:
    """The test with both marks."""
    for mark in NEEDS_CUDA:
        test = mark(test)
    return test
