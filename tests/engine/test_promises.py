"""A method of a plug-in that breaks a promise: the sentence has what was promised and came."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from dycoke_cli import Selection, SelectionInputs
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.selecting import selected
from dycoke_cli.errors import DycokeError

FEATURES = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Foreign(Method):
    """A method with a selection that a test gives it."""

    name: ClassVar[str] = "foreign"
    made: ClassVar[Callable[[torch.Tensor], Any]]
    count: ClassVar[Any] = 2

    def choose(self, inputs: SelectionInputs) -> Any:
        return type(self).made(inputs.features)

    def kept_tokens(self, frames: int, per_frame: int) -> Any:
        return self.count


def select(made: Any, count: Any = 2) -> Selection:
    kind = type("Kind", (Foreign,), {"made": staticmethod(lambda features: made), "count": count})
    return selected(kind(), SelectionInputs(FEATURES))


def kept(*indices: int, **more: Any) -> Selection:
    return Selection(torch.tensor(indices, dtype=torch.int64), **more)


@pytest.mark.parametrize(
    ("made", "came"),
    [
        ([0, 1], "a list from choose and 2 from kept_tokens(2, 3); promised: a Selection and an i"),
        (Selection([0, 1]), "a list; promised, by kept_tokens(2, 3): 2 ascending indices from 0 "),  # type: ignore[arg-type]
        (Selection(torch.tensor([0.0, 1.0])), "a Tensor [2] of torch.float32"),
        (kept(0, 6), "a Tensor [2] of torch.int64: [0, 6] …; promised"),
        (kept(-1, 5), "a Tensor [2] of torch.int64: [-1, 5] …"),
        (kept(3, 1), "a Tensor [2] of torch.int64: [3, 1] …"),
        (kept(1, 1), "a Tensor [2] of torch.int64: [1, 1] …"),
        (kept(1, 1, features=torch.ones(2, 4)), "a Tensor [2] of torch.int64: [1, 1] …"),
        (kept(0, 1, 2), "a Tensor [3] of torch.int64"),
        (kept(), "a Tensor [0] of torch.int64"),
        (kept(0, 1, features=torch.rand(2, 5)), "features or `into` that are a Tensor [2, 5]"),
        (kept(0, 1, features=torch.full((2, 4), torch.nan)), "features or `into` that are a T"),
        (kept(0, 1, into=torch.zeros(5)), "features or `into` that are a Tensor [5]"),
    ],
)
def test_a_broken_promise(made: Any, came: str) -> None:
    with pytest.raises(DycokeError, match=f"^the method foreign returned {re.escape(came)}"):
        select(made)


def test_a_count_that_is_no_number() -> None:
    with pytest.raises(DycokeError, match=r"and 2\.0 from kept_tokens\(2, 3\); promised: a Sel"):
        select(kept(0, 1), 2.0)


def test_a_promise_that_is_kept() -> None:
    assert select(kept(0, 5)).kept.tolist() == [0, 5]
    merged = kept(1, 2, features=torch.ones(2, 4), into=torch.tensor([1, 1, 2, 2, 2, -1]))
    assert select(merged) is merged
    assert select(kept(), 0).kept.tolist() == []
    backwards = kept(2, 1, features=torch.ones(2, 4))
    assert select(backwards) is backwards


def test_the_first_selection_that_is_right_is_the_last_that_is_checked() -> None:
    @dataclass(frozen=True)
    class Growing(Foreign):
        made: ClassVar[Callable[[torch.Tensor], Any]] = staticmethod(lambda features: kept(0, 1, 2))

    def chosen(count: int) -> Selection:
        Growing.count = count
        return selected(Growing(), SelectionInputs(FEATURES))

    for _ in range(2):
        with pytest.raises(DycokeError, match=r"a Tensor \[3\]"):
            chosen(2)
    for count in (3, 2):
        assert chosen(count).kept.tolist() == [0, 1, 2]
