"""FrameFusion against a loop over tokens, and on clips whose outcome is plain to see."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.drawn import Drawn
from dycoke_cli.compression.methods.framefusion import FrameFusion
from dycoke_cli.compression.similar import similarity_to_frame_before
from dycoke_cli.engine.vision import encode_video
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.models.load import load
from dycoke_cli.models.prompts.stock_prompt import make_prompt
from dycoke_cli.shapes.render import render
from tests.compression.clips import BUDGETS, CLIPS, assert_selected, cosine, given, mean, single

PUBLISHED_THRESHOLD = 0.6


def reference(frames: list, retain: float) -> dict[int, list[float]]:
    """The rule, a token at a time: runs of merged tokens, and the mean of each."""
    count, size = len(frames), len(frames[0])
    pairs = [
        (-single(cosine(frames[f][n], frames[f - 1][n])), f, n)
        for f in range(1, count)
        for n in range(size)
    ]
    goes = count * size - max(size, int(count * size * retain))
    merges = {(f, n) for _, f, n in sorted(pairs)[:goes]}
    found = {}
    for n in range(size):
        for f in range(count):
            if (f, n) not in merges:
                run = [frames[f][n]]
                while (f + len(run), n) in merges:
                    run.append(frames[f + len(run)][n])
                found[f * size + n] = mean(run)
    return found


@pytest.mark.parametrize("clip", CLIPS)
def test_it_is_the_rule_by_loops(clip: str) -> None:
    for retain in BUDGETS:
        expected = reference(CLIPS[clip].double().tolist(), retain)
        assert_selected(FrameFusion(retain=retain).choose(given(clip)), expected)


def test_where_a_token_moves_a_run_ends() -> None:
    # Of frame f the token at f + 1, where it is new, and at f, where it was.
    moved = [9 * f + n for f in range(1, 6) for n in (f, f + 1)]
    selection = FrameFusion(retain=(9 + 10) / 54).choose(given("moving"))
    assert selection.kept.tolist() == [*range(9), *moved]
    assert selection.into is not None
    assert selection.into.view(6, 9)[:, 8].tolist() == [8] * 6
    # The token at 2 is new in frame 1 (what moves) and in frame 2 (what was there before).
    assert selection.into.view(6, 9)[:, 2].tolist() == [2, 11, 20, 20, 20, 20]
    assert selection.sizes is not None
    assert selection.sizes.sum() == 54


def test_the_first_frame_is_the_least_that_stays() -> None:
    assert FrameFusion(retain=0.01).choose(given("noise")).kept.tolist() == [*range(12)]
    assert FrameFusion(retain=0.01).kept_tokens(7, 12) == 12


@pytest.mark.slow
def test_of_the_bundled_models_clips_the_published_rule_only_merges() -> None:
    """Of nine tokens in ten and more, which is what a tenth of the tokens asks for."""
    loaded, shapes = load("mini", dtype="float32"), open_dataset("shapes")
    times = np.linspace(0, 0.999, 32)
    for video in shapes.videos("validation", 4):
        clip = Drawn(render(shapes.script(video["id"]), times, 64), tuple(8 * times))
        prompt = make_prompt(loaded.processor, loaded.family, loaded.model.config, clip)
        tokens = encode_video(loaded.model, loaded.family, prompt).embeddings[: 32 * 16]
        similarity = similarity_to_frame_before(tokens.view(32, 16, -1))
        assert (similarity >= PUBLISHED_THRESHOLD).sum() >= 0.9 * len(tokens)
