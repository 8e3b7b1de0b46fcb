"""Any batch, any selection, step by step: what is attended to, against plain lists of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dycoke_cli.engine import kv_cache
from dycoke_cli.engine.kv_cache import KVStore
from tests.properties import QUICK


@pytest.fixture(scope="module", autouse=True)
def little_room() -> Iterator[None]:
    """Generated tokens soon need more memory than was taken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kv_cache, "SPARE_ENTRIES", 2)
        yield


@dataclass(frozen=True)
class Sequence:
    """A prompt of a batch: each entry of it is told by a number, of the batch and of the place."""

    number: int
    padding: int
    visual: tuple[int, ...]
    length: int

    def entry(self, place: int) -> float:
        return 1000.0 * (self.number + 1) + place

    @property
    def text(self) -> set[float]:
        places = set(range(self.padding, self.length)) - set(self.visual)
        return {self.entry(place) for place in places}

    def visuals(self, tokens: list[int]) -> set[float]:
        return {self.entry(self.visual[token]) for token in tokens}


@st.composite
def batches(draw: st.DrawFn) -> list[Sequence]:
    """Prompts of one length with their padding, of which the last token is text, as all are."""
    length = draw(st.integers(2, 14))
    found = []
    for number in range(draw(st.integers(1, 3))):
        padding = draw(st.integers(0, length - 2))
        places = st.lists(st.integers(padding, length - 2), max_size=length, unique=True)
        found.append(Sequence(number, padding, tuple(sorted(draw(places))), length))
    return found


def rows(batch: list[Sequence], places: list[int]) -> torch.Tensor:
    """Keys `[B, 1, S, 1]` that carry the numbers of their entries."""
    numbers = [[sequence.entry(place) for place in places] for sequence in batch]
    return torch.tensor(numbers)[:, None, :, None]


@QUICK
@given(st.data())
def test_each_step_attends_to_its_selection_and_all_text(data: st.DataObject) -> None:
    batch = data.draw(batches())
    layers = data.draw(st.integers(1, 3))
    first_pruned = data.draw(st.integers(1, layers))
    length = batch[0].length
    store = KVStore(
        layers=layers,
        paddings=[sequence.padding for sequence in batch],
        visual=[torch.tensor(sequence.visual, dtype=torch.int64) for sequence in batch],
        length=length,
        uncompressed_length=length,
        first_pruned=first_pruned,
    )
    ends = sorted({data.draw(st.integers(1, length)), length})  # one chunk, or two
    if len(ends) > 1:
        store.expect_chunks()
    for begin, end in pairwise([0, *ends]):
        chunk = rows(batch, list(range(begin, end)))
        for layer in range(layers):
            keys, _ = store.update(chunk, -chunk, layer)
            assert torch.equal(keys, rows(batch, list(range(end))))
    active: list[list[int]] = []
    chosen: list[torch.Tensor | None] = []
    for step in range(data.draw(st.integers(1, 6))):
        if step == 0 or data.draw(st.booleans()):
            counts = [data.draw(st.integers(0, len(s.visual))) for s in batch]
            active = [
                sorted(data.draw(st.permutations(range(len(sequence.visual))))[:count])
                for sequence, count in zip(batch, counts, strict=True)
            ]
            chosen = [torch.tensor(tokens, dtype=torch.int64) for tokens in active]
        new = rows(batch, [length + step])
        store.begin_step()
        for layer in range(layers):
            if layer == first_pruned:
                store.arrange(chosen)
            keys, values = store.update(new, -new, layer)
            assert torch.equal(values, -keys)
            mask = store.mask(layer, keys)
            for sequence, tokens in zip(batch, active, strict=True):
                attended = keys[sequence.number, 0, :, 0]
                if mask is not None:
                    attended = attended[mask[sequence.number]]
                visual = list(range(len(sequence.visual))) if layer < first_pruned else tokens
                generated = {sequence.entry(length + earlier) for earlier in range(step + 1)}
                expected = sequence.text | sequence.visuals(visual) | generated
                assert sorted(attended.tolist()) == sorted(expected), (layer, step)
