"""Merging before vision in each tower, against whole frames whose other rows are overwritten.

A patch that isn't run is what it is in the frame that stands for it. So the stock tower runs all
patches of all frames here, and in front of each layer and behind the tower those rows are written
over. Last, what the tower runs, what other threads see, and what is refused.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, EarlyTom
from dycoke_cli.engine import tower as towers
from dycoke_cli.engine import vision
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import family_of
from tests.engine.vision_tower.towers import CAN, MERGING, Overwritten, check_rows, rows_of
from tests.exactness import assert_same
from tests.families.sessions import prompt_about
from tests.families.stock import clip
from tests.families.tiny import make
from tests.natural import Pictures, pan


class Stacked(Overwritten):
    """Of a tower whose layers have a batch of frames."""

    def __init__(self, tower, layers, before: int, tokens: list[list[int]], ratio: float) -> None:
        super().__init__(tokens, ratio)
        self._first = before
        self.hooks = [
            layer.register_forward_pre_hook(self._choose if i == before else self._before)
            for i, layer in enumerate(layers)
            if i >= before
        ]
        self.hooks.append(tower.register_forward_hook(self._behind))

    def _choose(self, module, args):
        self.choose(args[0])
        return self._before(module, args)

    def _before(self, module, args):
        return (self.written(args[0]), *args[1:])

    def _behind(self, module, args, output):
        output.last_hidden_state = self.written(output.last_hidden_state)
        if output.hidden_states is not None:
            # Those in front of the choice are whole.
            layers = enumerate(output.hidden_states)
            output.hidden_states = tuple(
                x if x is None or i <= self._first else self.written(x) for i, x in layers
            )
        return output


# Half of a compared frame stays, or all, or nothing; a window is encoded at a time, or all of them.
@pytest.mark.parametrize(
    ("family", "frames", "before", "merge_ratio", "numbers"),
    [*product(CAN, (1, 3, 9), (0, 1), (0.5, 0.0, 0.99), (1, 10**9))],
)
@torch.inference_mode()
def test_rows_and_choice_are_those_of_whole_frames(
    family, frames, before, merge_ratio, numbers, monkeypatch
) -> None:
    model, processor = make(family)
    prompt = prompt_about(model, processor, Pictures.of(pan(frames)))
    assert (prompt.frames, prompt.tokens_per_frame) == (frames, len(rows_of(family)))
    monkeypatch.setattr(towers, "LAYERS_BEFORE", before)

    def make_oracle(tower, layers) -> Stacked:
        return Stacked(tower, layers, before, rows_of(family), merge_ratio)

    merging = replace(MERGING, merge_ratio=merge_ratio)
    check_rows(model, prompt, merging, numbers, make_oracle, monkeypatch)


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
    assert towers.LAYERS_BEFORE < 27


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("llava_onevision", "in rows"),
        ("qwen2_5_vl", "in one sequence"),
        ("llava_onevision", "of frames"),
    ],
)
@torch.inference_mode()
def test_other_threads_see_whole_frames(family: str, kind: str) -> None:
    model, processor = make(family)
    known: Any = family_of(model.config)
    before = MERGING.before_vision()
    frames = EarlyTom(retain=0.01, group_threshold=-1.0).merge_frames()
    merging: Any = {
        "in rows": lambda: towers.MergedVision(model, known.tower, before),
        "in one sequence": lambda: towers.PackedVision(model, known.packed_tower, before, 1),
        "of frames": lambda: towers.FramesInTower(model, frames),
    }[kind]
    prompt = prompt_about(model, processor, clip(9))
    whole = vision.encode_video(model, known, prompt).embeddings
    found = []
    with merging():
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
