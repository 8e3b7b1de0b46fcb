"""Two videos in one prompt: with nothing dropped it is the stock model, with tokens dropped the
masked reference, whose windows and budgets are each video's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, Uncompressed, VideoSession
from dycoke_cli.compression.method import BASELINE, Method, with_model_defaults
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.engine.attach import attach
from dycoke_cli.engine.generate import Stopwatch
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.settling import settled
from dycoke_cli.engine.vision import inject_videos, together
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import family_of
from dycoke_cli.models.families.layout import Grid
from tests.engine.reference import merge
from tests.exactness import assert_same_steps, generated
from tests.families.sessions import loaded_of, positions_of
from tests.families.stock import (
    MERGING_ONLY,
    NONE_ONLY,
    QUESTION,
    Masked,
    clip,
    one_of_each_kind,
    stock_inputs,
)
from tests.families.tiny import MAKERS, make
from tests.natural import Pictures

NEW_TOKENS = 4
# No two windows of four begin together, were the videos taken for one.
CLIPS = (clip(5), clip(5, seed=1))
# "At most one video is supported per sample."
ONE_VIDEO = ("molmo2",)
SEVERAL = [name for name in MAKERS if name not in ONE_VIDEO]


def takes_unequal(model: Any) -> bool:
    """Whether the stock processor takes videos of unequal length together."""
    return isinstance(family_of(model.config).pixels, Grid)


def session_of(family: str, clips: Sequence[Pictures]) -> VideoSession:
    return VideoSession(loaded_of(family), clips[0], others=clips[1:])


def ours(session: VideoSession, method: Method) -> tuple[list[int], list[torch.Tensor], Any]:
    """Tokens, their logits, and the attachment."""
    model, bound = session.loaded.model, settled(method, session.loaded.info)
    prompt = session.prompt(QUESTION, (), bound, GenerationOptions(max_tokens=NEW_TOKENS))
    session.encode(Stopwatch(session.loaded.input_device), bound)
    batch = together([prompt()], 0)
    with (
        inject_videos(model, batch.videos, batch.placeholders),
        attach(model, bound, videos=batch.videos) as attachment,
    ):
        output = generate(model, {"input_ids": batch.input_ids, **batch.extra_inputs})
    return output.sequences[0, -NEW_TOKENS:].tolist(), [one[0] for one in output.logits], attachment


def generate(model: Any, inputs: dict[str, torch.Tensor]) -> Any:
    mask = {"attention_mask": torch.ones_like(inputs["input_ids"])}
    return generated(model, mask | inputs, NEW_TOKENS)


class Apart(Masked):
    """The reference with each video merged alone."""

    def __init__(self, model: Any, inputs: dict[str, torch.Tensor], session: VideoSession) -> None:
        super().__init__(model, inputs, 1)
        family = family_of(model.config)
        shown = (inputs["input_ids"][0] == family.token(model.config)).nonzero().flatten().tolist()
        self.visual, self.each = [], []
        for video in session.videos:
            count = video.frames * video.tokens_per_frame
            self.visual += shown[:count]
            self.each.append((video.frames, video.tokens_per_frame))
            shown = shown[count + family.tail :]
        assert shown == []
        if family.tail and self.deepstack:
            raise NotImplementedError

    def of_each(self) -> list[torch.Tensor]:
        """The visual tokens of each video, `[F, N, D]`."""
        rows = self.embeds[self.visual].split([f * n for f, n in self.each])
        return [one.view(f, n, -1) for one, (f, n) in zip(rows, self.each, strict=True)]

    def merged(self, merge_ratio: float | None) -> list[int]:
        """The visual tokens that stay under TTM."""
        kept: list[int] = []
        start = 0
        for features in self.of_each():
            count = features.shape[0] * features.shape[1]
            chosen = range(count) if merge_ratio is None else merge(features, merge_ratio)
            kept += [start + i for i in chosen]
            start += count
        return kept


@pytest.mark.parametrize("family", one_of_each_kind(SEVERAL))
def test_with_nothing_dropped_it_is_the_stock_model(family: str) -> None:
    model, processor = make(family)
    cases = [CLIPS]
    if takes_unequal(model):
        cases.append((clip(4), clip(7, seed=1)))
    for clips in cases:
        session = session_of(family, clips)
        inputs = stock_inputs(family, processor, *clips)
        expected = generate(model, inputs)
        prompt = session.prompt(QUESTION, (), BASELINE, GenerationOptions())
        session.encode(Stopwatch(session.loaded.input_device), BASELINE)
        batch = together([prompt()], 0)
        assert torch.equal(batch.input_ids, inputs["input_ids"])
        with inject_videos(model, batch.videos, batch.placeholders):
            output = generate(model, {"input_ids": batch.input_ids, **batch.extra_inputs})
        assert_same_steps(output.logits, expected.logits)
        if family in NONE_ONLY:
            continue
        for positions in positions_of(family):
            keep_all = DyCoke(
                merge_ratio=0.0,
                prune_ratio=0.0,
                prune_layer=2,
                positions=positions,
                kv_prune=family not in MERGING_ONLY,
            )
            tokens, logits, attachment = ours(session, keep_all)
            assert tokens == expected.sequences[0, -NEW_TOKENS:].tolist()
            assert_same_steps(logits, expected.logits)
            visual = tuple(video.visual for video in session.videos)
            assert attachment.stats[0].kept_by_video == visual


@pytest.mark.parametrize("family", one_of_each_kind(f for f in SEVERAL if f not in NONE_ONLY))
def test_dropped_it_is_the_masked_reference_of_each_video(family: str) -> None:
    model, processor = make(family)
    clips = (clip(5), clip(7, seed=1)) if takes_unequal(model) else CLIPS
    session = session_of(family, clips)
    inputs = stock_inputs(family, processor, *clips)
    for positions in positions_of(family):
        reference = Apart(model, inputs, session)
        pruned = family not in MERGING_ONLY
        method = DyCoke(
            merge_ratio=0.5, kv_prune=pruned, prune_ratio=0.5, prune_layer=2, positions=positions
        )
        tokens, logits, attachment = ours(session, method)
        expected, theirs, actives = reference.generate_or_shorten(method, NEW_TOKENS)
        assert tokens == expected
        assert attachment.stats[0].active == [len(active) for active in actives]
        assert_same_steps(logits, theirs)
        kept = [method.kept_tokens(*each) for each in reference.each]
        assert attachment.stats[0].kept_by_video == tuple(kept)
        assert attachment.stats[0].visual_kept == sum(kept)


def of_two_kinds() -> list[tuple[str, str]]:
    """A family whose tower gives its attention and shows pictures, and one of neither: methods."""
    neither = [
        name
        for name, method in METHODS.items()
        if "attention" not in method.needs and method().shrink() is None
    ]
    cases = {"llava_onevision": METHODS, "qwen2_5_vl": neither}
    return [(family, name) for family, names in cases.items() for name in names if name != "none"]


@pytest.mark.parametrize(("family", "name"), [*of_two_kinds()])
def test_each_video_is_chosen_from_as_if_it_were_alone(family: str, name: str) -> None:
    method = METHODS[name]()
    clips = (clip(5), clip(6, seed=1))
    session = session_of(family, clips)
    loaded = session.loaded
    defaults = {"prune_layer": 2, "positions": "kept"}
    method = with_model_defaults(method, defaults, loaded.info.layers)
    method = settled(method, loaded.info)
    answer = session.ask(QUESTION, method, max_tokens=2)
    alone = [VideoSession(loaded, one) for one in clips]
    answers = [one.ask(QUESTION, method, max_tokens=2) for one in alone]
    assert [one.visual_kept for one in answer.videos] == [a.tokens.visual_kept for a in answers]
    assert answer.tokens.visual_kept == sum(a.tokens.visual_kept for a in answers)
    assert answer.tokens.visual == sum(a.tokens.visual for a in answers)
    if "question" in method.needs:
        return
    [together_encoded] = session._encoded.values()
    for both, one in zip(together_encoded, alone, strict=True):
        [(single,)] = one._encoded.values()
        assert torch.equal(both.selections[method].kept, single.selections[method].kept)


def test_what_is_reported_of_each() -> None:
    clips = (clip(5), clip(7, seed=1))
    session = session_of("qwen2_5_vl", clips)
    first = session.ask(QUESTION, Uncompressed(), max_tokens=2)
    assert first.frames.count == 12
    assert first.frames.timestamps_s == clips[0].timestamps_s + clips[1].timestamps_s
    assert [one.frames.count for one in first.videos] == [5, 7]
    assert [one.visual for one in first.videos] == [video.visual for video in session.videos]
    assert [one.visual_kept for one in first.videos] == [one.visual for one in first.videos]
    assert first.tokens.visual == session.visual
    # A second question goes on from what was prefilled of both.
    for method in (Uncompressed(), DyCoke(prune_layer=2, positions="kept")):
        session.ask("Who?", method, max_tokens=2)
        fresh = session_of("qwen2_5_vl", clips)
        expected = fresh.ask(QUESTION, method, max_tokens=6)
        assert session.ask(QUESTION, method, max_tokens=6).answer == expected.answer


@pytest.mark.parametrize("family", [name for name in ONE_VIDEO if name in MAKERS])
def test_a_family_that_shows_one_video_says_so(family: str) -> None:
    with pytest.raises(UsageError, match="is shown one video at a time; `dycoke batch` asks"):
        session_of(family, CLIPS)


def test_a_chat_template_that_shows_one_video_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of("llava_onevision", CLIPS)
    processor = session.loaded.processor
    stock = processor.apply_chat_template
    monkeypatch.setattr(
        processor,
        "apply_chat_template",
        lambda turns, **more: stock([turns[0] | {"content": turns[0]["content"][1:]}], **more),
    )
    with pytest.raises(UsageError, match="chat template shows one video at a time"):
        session.ask(QUESTION, Uncompressed())


def test_what_does_not_fit_and_what_has_no_trace() -> None:
    session = session_of("qwen2_5_vl", CLIPS)
    with pytest.raises(UsageError, match="a trace is of one question about one video"):
        session.ask(QUESTION, DyCoke(prune_layer=2), trace=1)
    room = session.loaded.context_length
    alone = VideoSession(session.loaded, CLIPS[0])
    fits = room - alone.visual - 40
    alone.prompt(QUESTION, (), BASELINE, GenerationOptions(max_tokens=fits))
    said = "5 frames and 36 tokens of other videos make .*, or ask about fewer videos"
    with pytest.raises(UsageError, match=said):
        session.prompt(QUESTION, (), BASELINE, GenerationOptions(max_tokens=fits))
