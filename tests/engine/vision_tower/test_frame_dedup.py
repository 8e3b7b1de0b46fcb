"""Frames that are the same are encoded once, and the rows are those of the stock model."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from dycoke_cli.engine import vision
from dycoke_cli.engine.memory import flops
from dycoke_cli.engine.tower import first_alike, new_runs
from dycoke_cli.models.families import family_of
from tests.exactness import assert_same
from tests.families.sessions import prompt_about, rows_of_stock
from tests.families.stock import Pictures, clip, stock_inputs
from tests.families.tiny import MAKERS, make


def repeated(order: list[int]) -> Pictures:
    """A clip whose frames come again; in pairs for the families that merge two."""
    shown = clip(max(order) + 1)
    pictures = np.stack([shown.frames[i] for i in order for _ in range(2)])
    return Pictures.of(pictures)


@pytest.mark.parametrize(("family", "numbers"), [*product(MAKERS, (1, 10**9))])
def test_rows_are_those_of_the_stock_model(family: str, numbers: int, monkeypatch) -> None:
    monkeypatch.setattr(flops, "CHUNK_NUMBERS_CPU", numbers)
    model, processor = make(family)
    shown = repeated([0, 1, 1, 0, 2, 2, 0])
    known = family_of(model.config)
    prompt = prompt_about(model, processor, shown)
    rows, _ = rows_of_stock(model, prompt, stock_inputs(family, processor, shown))
    assert_same(vision.encode_video(model, known, prompt).embeddings, rows)
    alike = first_alike(known, prompt.inputs, prompt.frames)
    assert len(set(alike)) < prompt.frames


def test_each_frame_finds_the_first_of_its_kind_and_the_last_is_itself() -> None:
    model, processor = make("llava_onevision")
    known = family_of(model.config)
    prompt = prompt_about(model, processor, repeated([0, 1, 0]))
    assert first_alike(known, prompt.inputs, 6) == [0, 0, 2, 2, 0, 5]


def test_runs_are_what_is_new_and_no_longer_than_asked() -> None:
    assert list(new_runs([0, 0, 2, 3, 4, 0, 6], 2)) == [(0, 1), (2, 4), (4, 5), (6, 7)]
    assert list(new_runs([0, 1, 2], 100)) == [(0, 3)]
    assert list(new_runs([0], 1)) == [(0, 1)]
