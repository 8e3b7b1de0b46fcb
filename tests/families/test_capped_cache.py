"""A capped KV cache: logits of a stock model that has all tokens, and masks what loops evict.

The reference has no cache: for every new token the stock decoder reads the whole prompt, and each
layer and KV head masks, from the row on at which a token was evicted, what loops over the keys say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface, LogitsProcessor

from dycoke_cli import VideoSession
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.eviction import EVICTIONS, CacheLimit
from dycoke_cli.compression.registry import create
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.windowed_video import read_windows
from dycoke_cli.errors import UsageError
from dycoke_cli.stock.cache_argument import cache_of
from tests.compression.eviction_by_loops import stays
from tests.covering import covered
from tests.exactness import assert_same
from tests.families.stock import BOTH_WAYS, MERGING_ONLY, QUESTION, Shorter, stock_inputs
from tests.families.test_own import Own
from tests.families.test_windowed_video import (
    FRAMES,
    SIZE,
    asked,
    loaded_of,
    session_in_windows,
    shown,
    window_by_window,
)
from tests.families.tiny import MAKERS

NAME = "tests_capped"
NEW_TOKENS = 4
# Grouped queries all; with a tail and positions that count tokens, with text between frames, with
# positions in three dimensions, and with DeepStack.
FAMILIES = ("llava_onevision", "internvl", "qwen2_5_vl", "qwen3_vl", "glm4v")
NONE = create("none")


@dataclass
class Reading:
    """What a reference reads: chunks of visual tokens, by their row and their number, and the cap.

    Attributes:
        left: of each layer and head the numbers of what is left.
    """

    chunks: list[list[tuple[int, int]]]
    per_frame: int
    cap: int
    rule: str
    left: dict[int, list[list[int]]]


_readings: list[Reading] = []


def _attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float, **_: Any
) -> tuple[torch.Tensor, None]:
    reading = _readings[0]
    size, heads = query.shape[2], key.shape[1]
    masks = attention_mask[0, 0].double().expand(heads, size, size).clone()
    cached: list[list[tuple[int, int]]] = [[] for _ in range(heads)]
    begin = 0
    for chunk in reading.chunks:
        if len(cached[0]) + len(chunk) > reading.cap:
            kept = stays(
                reading.rule,
                [[key[0, h, row].tolist() for row, _ in cached[h]] for h in range(heads)],
                [[value[0, h, row].tolist() for row, _ in cached[h]] for h in range(heads)],
                [[number for _, number in cached[h]] for h in range(heads)],
                reading.per_frame,
                reading.cap - reading.cap // 4,
            )
            for head in range(heads):
                gone = [row for i, (row, _) in enumerate(cached[head]) if i not in kept[head]]
                masks[head, begin:, gone] = -math.inf
                cached[head] = [cached[head][i] for i in kept[head]]
        for head in range(heads):
            cached[head] += chunk
        begin = chunk[-1][0] + 1
    reading.left[module.layer_idx] = [[number for _, number in head] for head in cached]
    group = query.shape[1] // heads
    outs = []
    for head in range(query.shape[1]):
        kv = head // group
        scores = query[0, head] @ key[0, kv].T * scaling + masks[kv]
        outs.append(scores.softmax(-1) @ value[0, kv])
    return torch.stack(outs, 1)[None], None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)


@contextmanager
def masked(model: Any, reading: Reading) -> Iterator[None]:
    _readings.append(reading)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation("sdpa")
        _readings.clear()


class Capped(Own):
    """The stock decoder over the whole sequence for every new token."""

    @torch.no_grad()
    def read(
        self, windows: list[list[int]], cap: int, rule: str, *, renumbered: bool = False
    ) -> tuple[list[torch.Tensor], Reading]:
        """Logits of greedy tokens, and what was left.

        Args:
            windows: the visual tokens that each has, by number.
            cap: M.
            rule: of eviction.
            renumbered: whether positions are contiguous.
        """
        kept = [number for window in windows for number in window]
        rows, columns = self._read(kept)
        row_of = dict(zip(kept, columns, strict=True))
        length = cap // 4
        if length > self.per_frame:
            length = length // self.per_frame * self.per_frame
        chunks = [
            [(row_of[number], number) for number in window[i : i + length]]
            for window in windows
            for i in range(0, len(window), length)
        ]
        reading = Reading(chunks, self.per_frame, cap, rule, {})
        seen, places = self.embeds[rows], self.positions[..., rows]
        upcoming = self.positions[..., -1:] + 1
        if renumbered:
            places, upcoming = torch.arange(len(rows))[None], torch.tensor([[len(rows)]])
        self.visual, self.deepstack = columns, [values[kept] for values in self.deepstack]
        typed, logits = torch.zeros(len(rows), dtype=torch.bool), []
        for step in range(NEW_TOKENS):
            with masked(self.model, reading):
                hidden = self._forward(seen, places, typed)
            logits.append(self.model.lm_head(hidden[0, -1]))
            new = self.model.get_input_embeddings()(logits[-1].argmax()[None])
            seen = torch.cat([seen, new])
            places = torch.cat([places, upcoming + step], dim=-1)
        return logits, reading


class Logits(LogitsProcessor):
    """Keeps the logits of each step."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.seen.append(scores[0].clone())
        return scores


def logits_of(session: VideoSession, method: Method, question: str = QUESTION) -> Any:
    observer = Logits()
    answer = session.ask(question, method, max_new_tokens=NEW_TOKENS, observer=observer)
    return answer, observer.seen


def reference_of(family: str, frames: int) -> tuple[Any, Capped]:
    loaded, video = loaded_of(family), shown(frames)
    inputs = stock_inputs(family, loaded.processor, video)
    encoded = frames // 2 if family in ("qwen2_5_vl", "qwen3_vl", "glm4v") else frames
    return loaded, Capped(loaded.model, inputs, encoded)


def windows_of(reference: Shorter, frames: int) -> list[list[int]]:
    """All visual tokens, by window."""
    per_window = len(reference.visual) * SIZE // frames
    numbers = [*range(len(reference.visual))]
    return [numbers[i : i + per_window] for i in range(0, len(numbers), per_window)]


def same(session: VideoSession, method: Method, expected: list[torch.Tensor]) -> Any:
    answer, logits = logits_of(session, method)
    for ours, theirs in zip(logits, expected, strict=True):
        assert_same(ours, theirs)
    return answer


@pytest.mark.parametrize(
    ("family", "rule"),
    covered([(family, rule) for family in FAMILIES for rule in EVICTIONS], together=1),
)
def test_it_is_the_stock_model_masked_to_what_loops_keep(family: str, rule: str) -> None:
    loaded, reference = reference_of(family, FRAMES)
    windows = windows_of(reference, FRAMES)
    total = sum(map(len, windows))
    cap = total // 2 + 1
    expected, reading = reference.read(windows, cap, rule)
    session = session_in_windows(loaded, shown(FRAMES), NONE, cache_limit=CacheLimit(cap, rule))
    answer = same(session, NONE, expected)
    [*_, left] = reading.left.values()
    assert answer.tokens.visual_kept == len(left[0]) <= cap
    assert (answer.windows.evict, answer.windows.max_tokens) == (rule, cap)
    assert answer.windows.visual_kept == answer.tokens.visual == total
    if rule == "tar-van":  # heads and layers have sets of their own
        assert len({tuple(head) for layer in reading.left.values() for head in layer}) > 1
    # A question later on is read behind the same cache.
    same(session, NONE, expected)


@pytest.mark.parametrize(
    ("positions", "contiguous"), [("kept", False), ("kept", True), ("renumbered", False)]
)
def test_a_method_reads_what_it_keeps(positions: str, contiguous: bool) -> None:
    """At positions with gaps or without, which a video's windows ask for or the method does."""
    loaded, reference = reference_of("llava_onevision", FRAMES)
    method = create("dycoke", kv_prune=False, positions=positions)
    kept = window_by_window(loaded, shown(FRAMES), method).kept.tolist()
    edges = range(0, FRAMES * reference.per_frame, SIZE * reference.per_frame)
    windows = [[n for n in kept if e <= n < e + SIZE * reference.per_frame] for e in edges]
    cap = len(kept) // 2
    closed = contiguous or positions == "renumbered"
    expected, _ = reference.read(windows, cap, "tar-van", renumbered=closed)
    session = session_in_windows(
        loaded, shown(FRAMES), method, cache_limit=CacheLimit(cap), contiguous=contiguous
    )
    answer = same(session, method, expected)
    assert answer.windows.visual_kept == len(kept)
    assert (answer.windows.positions == "renumbered") == closed
    above = session_in_windows(
        loaded, shown(FRAMES), method, cache_limit=CacheLimit(len(kept)), contiguous=contiguous
    )
    pool = session_in_windows(loaded, shown(FRAMES), method, contiguous=contiguous)
    for ours, theirs in zip(logits_of(above, method)[1], logits_of(pool, method)[1], strict=True):
        assert torch.equal(ours, theirs)


def test_where_nothing_is_dropped_there_are_no_gaps_to_close() -> None:
    """A token that was evicted counts on in contiguous positions, too."""
    loaded = loaded_of("llava_onevision")
    with_gaps, closed = (
        logits_of(
            session_in_windows(
                loaded, shown(FRAMES), NONE, cache_limit=CacheLimit(40), contiguous=contiguous
            ),
            NONE,
        )
        for contiguous in (False, True)
    )
    assert with_gaps[0].tokens.visual_kept <= 40 < with_gaps[0].windows.visual_kept
    assert torch.equal(torch.stack(with_gaps[1]), torch.stack(closed[1]))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cap_above_the_length_changes_nothing_bit_for_bit(family: str) -> None:
    loaded, video = loaded_of(family), shown(FRAMES)
    total = VideoSession(loaded, video).visual
    answer, logits = logits_of(session_in_windows(loaded, video, NONE), NONE)
    capped = session_in_windows(loaded, video, NONE, cache_limit=CacheLimit(total))
    found, same_logits = logits_of(capped, NONE)
    assert torch.equal(torch.stack(logits), torch.stack(same_logits))
    assert (found.answer, found.tokens, found.flops) == (answer.answer, answer.tokens, answer.flops)
    below = session_in_windows(loaded, video, NONE, cache_limit=CacheLimit(total - 1))
    assert logits_of(below, NONE)[0].tokens.visual_kept < total
    # One window is the whole video.
    whole, read = asked(VideoSession(loaded, shown(SIZE), reuse=False), NONE)
    one, read_too = asked(
        session_in_windows(loaded, shown(SIZE), NONE, cache_limit=CacheLimit(999)), NONE
    )
    assert torch.equal(read["inputs_embeds"], read_too["inputs_embeds"])
    assert torch.equal(read["position_ids"], read_too["position_ids"])
    assert one.answer == whole.answer


def test_the_cache_is_never_above_its_cap() -> None:
    loaded, reference = reference_of("llava_onevision", FRAMES)
    text, cap = reference.visual[0], 2 * reference.per_frame + 3
    lengths: list[int] = []
    hook = loaded.model.get_decoder().register_forward_hook(
        lambda module, args, kwargs, output: lengths.append(cache_of(kwargs).get_seq_length()),
        with_kwargs=True,
    )
    try:
        session_in_windows(loaded, shown(FRAMES), NONE, cache_limit=CacheLimit(cap))
    finally:
        hook.remove()
    assert len(lengths) > 9
    assert max(lengths) <= text + cap
    assert max(lengths) > text + cap - cap // 4


REFUSED = [
    *((family, NONE, "layers that keep every token") for family in MERGING_ONLY),
    *((family, NONE, "reads its prompt whole") for family in BOTH_WAYS),
    ("llava_onevision", create("dycoke", prune_layer=1), "add --no-kv-prune"),
    (
        "llava_onevision",
        create("dycoke-plus", kv_prune=False, proportional=True),
        "proportional attention .* drop it",
    ),
]


@pytest.mark.parametrize(("family", "method", "error"), REFUSED)
def test_what_cannot_be_capped_is_refused_before_anything_runs(
    family: str, method: Method, error: str
) -> None:
    if family not in MAKERS:
        pytest.skip("this release of transformers doesn't have it")
    loaded = loaded_of(family)

    def windows() -> Iterator[Any]:
        raise AssertionError("a window was taken")
        yield

    with pytest.raises(UsageError, match=error):
        read_windows(
            loaded,
            bind(method, loaded.traits),
            shown(FRAMES),
            windows(),
            SIZE,
            cache_limit=CacheLimit(9),
        )


def test_a_trace_is_refused() -> None:
    loaded = loaded_of("llava_onevision")
    session = session_in_windows(loaded, shown(FRAMES), NONE, cache_limit=CacheLimit(9))
    with pytest.raises(UsageError, match="a trace isn't supported with max_cached_tokens"):
        session.ask(QUESTION, NONE, max_new_tokens=2, trace=0)


def test_other_text_before_the_video_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loaded_of("llava_onevision")
    session = session_in_windows(loaded, shown(FRAMES), NONE, cache_limit=CacheLimit(9))
    monkeypatch.setattr(session, "_ids", lambda *_: session.video.input_ids("?").roll(1))
    with pytest.raises(UsageError, match="writes other text before the video"):
        session.ask(QUESTION, NONE, max_new_tokens=2)
