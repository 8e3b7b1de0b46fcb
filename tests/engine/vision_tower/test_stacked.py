"""Merging before vision in a session: what the tower runs, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, EarlyTom
from dycoke_cli.engine import tower, vision
from dycoke_cli.engine.tower import LAYERS_BEFORE
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import family_of
from tests.engine.vision_tower.towers import MERGING
from tests.exactness import assert_same
from tests.families.sessions import prompt_about
from tests.families.stock import clip
from tests.families.tiny import make
from tests.natural import Pictures, pan


def test_the_tower_runs_less() -> None:
    """Rows of the layers behind the choice, counted."""
    model, processor = make("llava_onevision")
    layers = model.model.vision_tower.encoder.layers
    rows = []
    hook = layers[-1].mlp.register_forward_hook(
        lambda module, args, output: rows.append(args[0].shape[:-1].numel())
    )
    known = family_of(model.config)
    prompt = prompt_about(model, processor, Pictures.of(pan(8)))
    vision.encode_video(model, known, prompt, None, MERGING.before_vision())
    hook.remove()
    # Of 4 tokens a compared frame keeps 2, four patches each; every fourth frame is whole.
    assert sum(rows) == 2 * (16 + 3 * 2 * 4)
    assert LAYERS_BEFORE < 27


def in_rows(model: Any, known: Any) -> AbstractContextManager[object]:
    return tower.MergedVision(model, known.tower, MERGING.before_vision())


def in_one_sequence(model: Any, known: Any) -> AbstractContextManager[object]:
    return tower.PackedVision(model, known.packed_tower, MERGING.before_vision(), 1)


def of_frames(model: Any, known: Any) -> AbstractContextManager[object]:
    return tower.FramesInTower(model, EarlyTom(retain=0.01, group_threshold=-1.0).merge_frames())


@pytest.mark.parametrize(
    ("family", "merging"),
    [
        ("llava_onevision", in_rows),
        ("qwen2_5_vl", in_one_sequence),
        ("llava_onevision", of_frames),
    ],
)
@torch.inference_mode()
def test_other_threads_see_whole_frames(
    family: str, merging: Callable[[Any, Any], AbstractContextManager[object]]
) -> None:
    model, processor = make(family)
    known = family_of(model.config)
    prompt = prompt_about(model, processor, clip(9))
    whole = vision.encode_video(model, known, prompt).embeddings
    found = []
    with merging(model, known):
        other = threading.Thread(
            target=lambda: found.append(vision.encode_video(model, known, prompt).embeddings)
        )
        other.start()
        other.join()
    assert_same(found[0], whole)


def test_what_it_is_not_for_is_refused() -> None:
    with pytest.raises(UsageError, match="VideoSession"), MERGING(make("llava_onevision")[0]):
        pass
    with pytest.raises(UsageError, match="paper variant"):
        DyCoke(variant="published", merge_stage="vision")
