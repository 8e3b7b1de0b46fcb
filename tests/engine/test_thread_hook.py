"""Hooks of one thread, and the grammar's mask of tokens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from dycoke_cli.engine.grammar_mask import GrammarMask
from dycoke_cli.stock.forward import before_forward


def test_another_thread_in_the_middle_of_the_registration():
    # What torch does between adding the hook and noting that it takes keyword arguments.
    module = torch.nn.Identity()
    before_forward(module, lambda module, args, kwargs: ((args[0] + 1,), kwargs))
    module._forward_pre_hooks_with_kwargs.clear()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(module, 1).result() == 1


class Allowing:
    """A form that allows some tokens of a vocabulary of 40, in words of 32 bits."""

    def __init__(self, *tokens: int) -> None:
        self._bits = np.isin(np.arange(64), tokens)

    def allowed(self) -> np.ndarray:
        return np.packbits(self._bits, bitorder="little")


@pytest.mark.parametrize("logits", [40, 64, 200])
def test_logits_behind_the_vocabulary_are_ruled_out(logits: int) -> None:
    """The output layer of many models is wider than the vocabulary, for speed."""
    forms: list[Any] = [Allowing(0, 3, 39), Allowing(8)]
    scores = torch.arange(2.0 * logits).view(2, logits)
    found = GrammarMask(forms)(torch.zeros(2, 1, dtype=torch.int64), scores)
    finite = found.isfinite()
    assert [row.nonzero().flatten().tolist() for row in finite] == [[0, 3, 39], [8]]
    assert torch.equal(found[finite], scores[finite])
