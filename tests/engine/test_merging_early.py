"""Methods that choose among the embeddings of a vision tower that ran in part.

That those embeddings are right is tested in `test_stacked_towers.py` and `test_packed_towers.py`;
what a method chooses by its rule, in `tests/compression`. Here the reference is stock `generate()`
on what the rule chooses of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, VideoSession
from dycoke_cli.compression.method import Selection, SelectionInputs
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.engine import vision
from dycoke_cli.models.families import family_of
from tests.compression.clips import EARLY, LEAST
from tests.exactness import assert_same_steps
from tests.families.sessions import loaded_of, logits_of
from tests.families.stock import (
    QUESTION,
    Shorter,
    clip,
    one_of_each_kind,
    placeholders,
    stock_inputs,
)
from tests.families.tiny import make
from tests.marks import EXTENDED

FAMILIES = ("llava_onevision", "internvl", "qwen2_5_vl", "qwen3_vl", "video_llama_3")
# What a method with a budget merges in the tower, and TTM.
WITH_BUDGET = create("evs", retain=0.3, merge_stage="vision", positions="kept")
OWN = DyCoke(kv_prune=False, merge_stage="vision", positions="kept")


@pytest.mark.parametrize("family", one_of_each_kind(FAMILIES, ("llava_onevision",)))
def test_it_is_stock_transformers_on_what_is_chosen_of_them(family: str) -> None:
    model, processor = make(family)
    session = VideoSession(loaded_of(family), clip(9))
    inputs = stock_inputs(family, processor, clip(9))
    stock = Shorter(model, inputs, session.video.frames)
    frames, per_frame = stock.frames, stock.per_frame
    behind = stock.visual[-1] + (2 if family == "llava_onevision" else 1)
    assert placeholders(model, inputs)[-1] == stock.visual[-1]
    embeds = stock.embeds
    cases = [(name, {"retain": 0.3}, WITH_BUDGET) for name in EARLY] + [("random", {}, OWN)]
    # More than the tower encodes.
    cases += [(name, {"retain": 0.8}, WITH_BUDGET) for name in ("evs", "dycoke-plus")]
    not_encoded = 0
    for name, budget, early in cases:
        layout, before = family_of(model.config), early.before_vision()
        in_part = vision.encode_video(model, layout, session.video, None, before)
        rows = in_part.embeddings[: len(stock.visual)]
        stock.embeds = embeds.index_copy(0, torch.tensor(stock.visual), rows)
        stock.deepstack = list(in_part.deepstack)
        parameters = budget
        if name == "random" and not budget:
            parameters = {"kv_prune": False}
        rule = create(name, positions="kept", **parameters)
        chosen = rule.choose(SelectionInputs(stock.features, question=stock.embeds[behind:]))
        kept = chosen.kept.tolist()
        if budget:
            least = LEAST.get(name, lambda *_: 1)(frames, per_frame)
            assert len(kept) == max(least, int(frames * per_frame * budget["retain"]))
        not_encoded += len({*kept} - {*in_part.kept.tolist()})
        if chosen.features is not None:
            stock.embeds[[stock.visual[i] for i in kept]] = chosen.features
        _, expected = stock.generate_shorter(2, kept, renumbered=False)
        with logits_of(model) as seen:
            answer = session.ask(QUESTION, replace(rule, merge_stage="vision"), max_tokens=2)
        assert answer.tokens.visual_kept == len(kept), name
        assert_same_steps([logits[0, -1] for logits in seen], expected)
    assert not_encoded > 0


@pytest.mark.parametrize("family", ["llava_onevision", pytest.param("qwen2_5_vl", marks=EXTENDED)])
def test_the_tower_runs_once_for_all(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its embeddings are the same for every budget and method, but not for DyCoke."""
    session = VideoSession(loaded_of(family), clip(9))
    runs: list[int] = []
    real = vision.at_decoder

    def counted(*arguments: Any) -> Any:
        runs.append(1)
        return real(*arguments)

    monkeypatch.setattr(vision, "at_decoder", counted)
    asked = [OWN, WITH_BUDGET, *(create(name, retain=0.4, merge_stage="vision") for name in EARLY)]
    for method in asked:
        before = len(runs)
        session.ask(QUESTION, method, max_tokens=1)
        assert (len(runs) > before) == (method in (OWN, WITH_BUDGET))


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl"])
def test_random_dropping_draws_the_same_tokens_wherever_the_tower_merges(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also behind DyCoke, whose encoding it shares."""
    session = VideoSession(loaded_of(family), clip(9))
    drawn: list[list[int]] = []
    real = METHODS["random"].choose

    def choose(self: Any, given: SelectionInputs) -> Selection:
        selection = real(self, given)
        drawn.append(selection.kept.tolist())
        return selection

    monkeypatch.setattr(METHODS["random"], "choose", choose)
    for merge_stage in ("llm", "vision"):
        session.ask(QUESTION, replace(OWN, merge_stage=merge_stage), max_tokens=1)
        method = create("random", kv_prune=False, merge_stage=merge_stage)
        session.ask(QUESTION, method, max_tokens=1)
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == OWN.kept_tokens(session.video.frames, session.video.tokens_per_frame)
