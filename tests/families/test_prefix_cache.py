"""A second question about a video: answered as alone, and only its own text is read."""

from __future__ import annotations

import pytest
import torch

from dycoke_cli import FastV, Uncompressed, VideoSession
from dycoke_cli.engine.chunked_prefill import PrefixCache
from tests.families.sessions import NEW_TOKENS, Read, loaded_of, method_of, runs
from tests.families.stock import BOTH_WAYS, MERGING_ONLY, NONE_ONLY, clip, one_of_each_kind
from tests.families.tiny import MAKERS

QUESTIONS = ("what happens", "who is there and why does the circle move", "what happens")
READ_WHOLE = (*BOTH_WAYS, *MERGING_ONLY, *NONE_ONLY)

# No method, and the one that does most.
CASES = [(family, name) for family in MAKERS for name in ("none", *runs(family)[-1:])]


@pytest.mark.parametrize(
    ("family", "name"), one_of_each_kind(CASES, (("qwen2_5_vl", "dycoke"), ("qwen3_5", "ttm")))
)
def test_answers_are_those_of_a_fresh_session(family: str, name: str) -> None:
    loaded = loaded_of(family)
    method = Uncompressed() if name == "none" else method_of(name, "kept")
    session = VideoSession(loaded, clip(5))
    for question in QUESTIONS:
        expected = VideoSession(loaded, clip(5), reuse=False).ask(
            question, method, max_tokens=NEW_TOKENS
        )
        with Read(loaded.model) as read:
            answer = session.ask(question, method, max_tokens=NEW_TOKENS)
        assert answer.answer == expected.answer
        assert answer.tokens == expected.tokens
        assert answer.decode == expected.decode
        text = expected.tokens.text
        if family not in READ_WHOLE and question is not QUESTIONS[0]:
            assert read.prefilled <= text


def test_methods_take_turns_and_each_finds_what_it_read() -> None:
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, clip(5))
    methods = [Uncompressed(), method_of("dycoke", "renumbered")]
    for method in methods:
        session.ask("what happens", method, max_tokens=2)
    for method in methods * 2:
        with Read(loaded.model) as read:
            answer = session.ask("who is there", method, max_tokens=2)
        assert read.prefilled <= answer.tokens.text


def test_a_method_that_reads_all_reports_that_nothing_was_reused() -> None:
    session = VideoSession(loaded_of("llava_onevision"), clip(5))
    methods = (Uncompressed(), Uncompressed(), FastV(prune_layer=2))
    first, second, inside = (session.ask("what", one, max_tokens=2).tokens for one in methods)
    assert first.reused == inside.reused == 0
    assert second.visual_kept <= second.reused < second.visual_kept + second.text


@pytest.mark.parametrize("method", ["ttm", "dycoke"])
@pytest.mark.parametrize("turns", [("kept", "renumbered"), ("renumbered", "kept")])
def test_the_same_tokens_at_other_positions_are_another_prefix(
    method: str, turns: tuple[str, str]
) -> None:
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, clip(5))
    session.ask("what happens", method_of(method, turns[0]), max_tokens=2)
    with Read(loaded.model) as read:
        answer = session.ask("what happens", method_of(method, turns[1]), max_tokens=2)
    tokens = answer.to_dict()["tokens"]
    assert read.prefilled == tokens["visual_kept"] + tokens["text"]  # the video was read anew
    held = [layers[0][0] for layers in session.prefix._stored.values()]
    # Keys are turned by their positions: where these differ, so do the keys.
    assert len(held) == 2
    assert held[0].shape == held[1].shape
    assert not torch.allclose(held[0], held[1], atol=1e-3)


def test_only_so_many_ways_of_reading_are_held(monkeypatch) -> None:
    held = PrefixCache()
    cache = type("Cache", (), {"layers": []})
    for key in (b"a", b"b", b"c"):
        held.keep(key, cache)
    assert not held.restore(b"a", cache)
    assert held.restore(b"b", cache)
