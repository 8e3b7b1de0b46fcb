"""A video that is read in windows: what a method keeps of each window alone, one behind the other.

One that fits a window is answered as it is without windows, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
import torch

from dycoke_cli import VideoSession
from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.method import (
    Method,
    Selection,
    SelectionInputs,
    counted_on,
    is_windowed,
)
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.engine import windows
from dycoke_cli.engine.selecting import selected
from dycoke_cli.engine.settling import settled
from dycoke_cli.engine.vision import encode_video
from dycoke_cli.engine.windows import read_windows
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.families import FAMILIES as FAMILIES_OF_TABLE
from dycoke_cli.models.families import Family
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.stock_prompt import fitted, make_prompt
from dycoke_cli.video.clip import FrameResize, FrameWindow, shape_alone
from tests.exactness import assert_same
from tests.families.sessions import as_loaded, loaded_of
from tests.families.stock import (
    MERGING_ONLY,
    NONE_ONLY,
    QUESTION,
    clip,
    one_of_each_kind,
)
from tests.families.tiny import MAKERS, kind, make
from tests.natural import Pictures

FRAMES, SIZE = 18, 8  # the last window has two frames: a pair, of families that read pairs
FAMILIES = [family for family in MAKERS if family not in NONE_ONLY]
METHOD_NAMES = [name for name, method in METHODS.items() if is_windowed(method)]
# Places that count tokens, and those in time, height and width.
PLACES = ("llava_onevision", "qwen3_vl")
PAIRS = [
    (family, name)
    for family in FAMILIES
    for name in METHOD_NAMES
    # The tower of the others doesn't give the attention that these methods need.
    if FAMILIES_OF_TABLE[kind(family)].tower is not None or not METHODS[name].needs
]


@dataclass(frozen=True)
class Shown(Pictures):
    """Frames that may have been resized, or handed on."""

    resize: FrameResize | None = None
    window: int | None = None


def shown(frames: int, scale: int = 1) -> Shown:
    """Four frames a second."""
    made = clip(frames)
    return Shown(made.frames.repeat(scale, 1).repeat(scale, 2), made.timestamps_s)


def method_of(name: str, loaded: LoadedModel) -> Method:
    given: dict[str, Any] = {}
    if loaded.name in MERGING_ONLY and "kv_prune" in create(name).parameters():
        given["kv_prune"] = False
    elif name == "dycoke":
        given["prune_layer"] = 1
    if name == "dycoke-plus":
        given["merge_stage"] = "llm"
    return create(name, **given)


def session_in_windows(
    loaded: LoadedModel,
    video: Shown,
    method: Method,
    size: int = SIZE,
    **more: Any,
) -> VideoSession:
    """As `dycoke ask` makes it, from frames that are decoded already; all that is kept is read."""
    parts = [video.frames[i : i + size] for i in range(0, len(video.frames), size)]
    nothing = shape_alone(len(video.frames), video.frames.shape[1:3])
    blank = replace(video, frames=nothing, window=size)
    windowed = read_windows(
        loaded,
        settled(method, loaded.info),
        blank,
        [FrameWindow(part, video.resize) for part in parts],
        size,
        **{"video_tokens": 10**6} | more,
    )
    return VideoSession(loaded, blank, windowed=windowed, reuse=False)


@contextmanager
def prompts_read(loaded: LoadedModel) -> Iterator[list[dict[str, Any]]]:
    """What the text decoder is called with, behind all hooks."""
    decoder, calls = loaded.model.get_decoder(), []
    forward = decoder.forward

    def noted(*args: Any, **kwargs: Any) -> Any:
        calls.append(dict(kwargs))
        return forward(*args, **kwargs)

    decoder.forward = noted
    try:
        yield calls
    finally:
        del decoder.forward


def asked(session: VideoSession, method: Method) -> tuple[Answer, dict[str, Any]]:
    """The answer, and what the decoder read first."""
    with prompts_read(session.loaded) as calls:
        answer = session.ask(QUESTION, method, max_tokens=3)
    return answer, calls[0]


def same_answers(one: Answer, other: Answer) -> None:
    for key in ("answer", "tokens", "decode", "flops", "frames", "finish_reason", "method"):
        assert getattr(one, key) == getattr(other, key), key


@pytest.mark.parametrize(
    ("family", "name"),
    [*product(FAMILIES, ("dycoke", "dycoke-plus", "vidcom2"))],
)
def test_one_window_is_the_same_bit_for_bit(family: str, name: str) -> None:
    loaded, video = loaded_of(family), shown(SIZE)
    method = method_of(name, loaded)
    whole, read = asked(VideoSession(loaded, video, reuse=False), method)
    windowed, read_too = asked(session_in_windows(loaded, video, method), method)
    same_answers(windowed, whole)
    for argument in ("inputs_embeds", "position_ids"):
        assert torch.equal(read[argument], read_too[argument]), argument
    assert windowed.windows.count == 1
    assert windowed.windows.visual_kept == windowed.tokens.visual_kept


def window_by_window(loaded: LoadedModel, video: Shown, method: Method) -> Selection:
    """The method's selection from each window of the embeddings of the whole video."""
    bound, prompt = settled(method, loaded.info), make_prompt(
        loaded.processor, loaded.family, loaded.model.config, video
    )  # fmt: skip
    with_attention = "attention" in bound.needs
    encoded = encode_video(loaded.model, loaded.family, prompt, with_attention=with_attention)
    per_frame, step = prompt.tokens_per_frame, SIZE * prompt.frames // len(video.frames)
    features = encoded.embeddings[: prompt.visual].view(prompt.frames, per_frame, -1)
    each, tower, so_far = [], encoded.tower, ()
    for start in range(0, prompt.frames, step):
        part = slice(start, start + step)
        so_far = bound.so_far(features[part], so_far)
        inputs = SelectionInputs(features[part], so_far=so_far)
        if with_attention:
            inputs = replace(inputs, attention=tower.attention[part], keys=tower.keys[part])
        chosen, before = selected(bound, inputs), start * per_frame
        kept = chosen.kept + before
        rows = encoded.embeddings[kept] if chosen.features is None else chosen.features
        into = chosen.into if chosen.into is None else counted_on(chosen.into, before)
        each.append((kept, rows, into))
    kept, rows, into = zip(*each, strict=True)
    with_into = all(one is not None for one in into)
    return Selection(torch.cat(kept), torch.cat(rows), torch.cat(into) if with_into else None)


def check_several_windows(
    loaded: LoadedModel, video: Shown, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is that to what the method keeps of each window of the whole video."""
    windowed, read = asked(session_in_windows(loaded, video, method), method)
    chosen = window_by_window(loaded, video, method)
    monkeypatch.setattr(type(method), "choose", lambda self, inputs: chosen)
    whole, expected = asked(VideoSession(loaded, video, reuse=False), method)
    same_answers(windowed, whole)
    assert_same(read["inputs_embeds"], expected["inputs_embeds"])
    assert torch.equal(read["position_ids"], expected["position_ids"])
    assert windowed.windows.count == 3
    assert windowed.windows.visual_kept == len(chosen.kept)


# Of the masks the plainest and the one with sliding windows.
SEVERAL = ("llava_onevision", "dycoke-plus"), ("gemma4", "none")


@pytest.mark.parametrize(("family", "name"), one_of_each_kind(PAIRS, SEVERAL))
def test_several_windows_are_each_selected_from_alone(
    family: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = loaded_of(family)
    check_several_windows(loaded, shown(FRAMES), method_of(name, loaded), monkeypatch)


@pytest.mark.parametrize("family", one_of_each_kind(FAMILIES, PLACES))
def test_so_are_frames_that_were_resized_as_they_came(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the size of that many frames: of so few as a window has, some processors make larger."""
    loaded, decoded = loaded_of(family), shown(FRAMES, scale=12)
    video = fitted(decoded, loaded.fit)
    assert video.resize is not None
    check_several_windows(loaded, video, method_of("dycoke-plus", loaded), monkeypatch)


@pytest.mark.parametrize("family", one_of_each_kind(FAMILIES, PLACES))
def test_survivors_of_the_pool_keep_their_places(family: str) -> None:
    """A cap of a third: of the tokens that windows kept, with the positions that they had."""
    loaded, video = loaded_of(family), shown(FRAMES)
    method = create("dycoke-plus", positions="kept")
    session = session_in_windows(loaded, video, method)
    _, all_read = asked(session, method)
    before = session.windowed
    cap = len(before.tokens) // 3
    capped = session_in_windows(loaded, video, method, video_tokens=cap)
    answer, read = asked(capped, method)
    assert answer.tokens.visual_kept == cap == answer.windows.video_tokens
    assert answer.windows.visual_kept == len(before.tokens)
    positions, of_all = (one["position_ids"].flatten(0, -2).T for one in (read, all_read))
    assert len(of_all) - len(positions) == len(before.tokens) - cap
    # Of families that count tokens there, the first of four numbers is none of a place.
    places = {tuple(row[-3:].tolist()) for row in of_all}
    assert all(tuple(row[-3:].tolist()) in places for row in positions)


@pytest.mark.parametrize(("room", "read"), [(7, 7), (13, 13), (14, 13)])
def test_the_cap_is_no_more_than_the_context_has_room_for(room: int, read: int) -> None:
    loaded, method = loaded_of("llava_onevision"), create("none")
    session = session_in_windows(loaded, shown(FRAMES), method, video_tokens=13)
    windowed, video, ids = session.windowed, session.video, session.video.input_ids(QUESTION)
    generated = loaded.context_length - (ids.shape[1] - video.visual) - room
    prompt = windowed.prompt(loaded, video, ids, generated)()
    assert prompt.preselection.cap == len(prompt.preselection.kept) == read


def test_a_pool_may_close_the_gaps_of_a_method_that_drops_nothing() -> None:
    """As if the tokens that are read were the whole prompt."""
    loaded, video, method = loaded_of("llava_onevision"), shown(FRAMES), create("none")
    kept, contiguous = (
        session_in_windows(loaded, video, method, video_tokens=40, contiguous=one)
        for one in (False, True)
    )
    with_gaps, read_with = asked(kept, method)
    without, read_without = asked(contiguous, method)
    positions = read_without["position_ids"]
    assert torch.equal(positions, torch.arange(positions.shape[-1])[None])
    assert torch.equal(read_with["inputs_embeds"], read_without["inputs_embeds"])
    assert read_with["position_ids"].max() > positions.max()
    assert with_gaps.windows.positions == "kept"
    assert without.windows.positions == "renumbered"


@pytest.mark.parametrize("family", one_of_each_kind(FAMILIES))
def test_an_answer_that_leaves_no_room_is_refused_before_anything_is_encoded(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the text that every prompt has; one more token of context is enough to begin."""
    loaded, video, method = loaded_of(family), shown(FRAMES), create("none")

    def encode(*_: Any, **__: Any) -> Any:
        raise AssertionError("a window is encoded")

    monkeypatch.setattr(windows, "encode_cached", encode)
    whole = VideoSession(loaded, video, reuse=False)
    room = loaded.context_length - (whole.video.input_ids("").shape[1] - whole.visual)
    sentence = rf"--max-tokens {room} leaves no room .* use --max-tokens {room // 2} or"
    with pytest.raises(UsageError, match=sentence):
        session_in_windows(loaded, video, method, max_tokens=room)
    with pytest.raises(ModelError, match="a window is encoded"):
        session_in_windows(loaded, video, method, max_tokens=room - 1)


def test_another_method_is_refused() -> None:
    loaded = loaded_of("llava_onevision")
    method = method_of("dycoke", loaded)
    session = session_in_windows(loaded, shown(FRAMES), method)
    with pytest.raises(UsageError, match="read in windows, by the method dycoke"):
        session.ask(QUESTION, create("evs"), max_tokens=2)


def test_questions_share_what_was_read() -> None:
    loaded = loaded_of("llava_onevision")
    method = method_of("dycoke-plus", loaded)
    session = session_in_windows(loaded, shown(FRAMES), method, video_tokens=40)
    first = session.ask(QUESTION, method, max_tokens=6)
    second = session.ask(QUESTION, method, max_tokens=6)
    assert first.answer == second.answer
    assert first.seconds.vision > 0 == second.seconds.vision
    assert first.seconds.total > first.seconds.vision
    alone = session_in_windows(loaded, shown(FRAMES), method, video_tokens=40)
    assert alone.ask("Why?", method, max_tokens=6).answer == session.ask(
        "Why?", method, max_tokens=6
    ).answer  # fmt: skip


def test_a_processor_that_reads_all_frames_at_once_is_refused() -> None:
    loaded = as_loaded("x", *make("qwen2_5_omni"), Family(stock_inputs=True))
    with pytest.raises(UsageError, match="its processor reads all frames at once"):
        read_windows(loaded, settled(create("none"), loaded.info), shown(2), [], 8)


@pytest.mark.parametrize("family", one_of_each_kind(FAMILIES))
def test_the_prompt_of_frames_that_are_gone_is_that_of_all_frames(family: str) -> None:
    """The token ids, and what positions are made from; in place of pixels are tensors without data.

    Runs of placeholders are tokenized as one, and repeated.
    """
    loaded, video = loaded_of(family), shown(FRAMES)
    given = loaded.processor, loaded.family, loaded.model.config
    whole = make_prompt(*given, video)
    nothing = shape_alone(FRAMES, video.frames.shape[1:3])
    blank = make_prompt(*given, replace(video, frames=nothing, window=SIZE))
    history = [("Who?", "A dog.")]
    assert torch.equal(blank.input_ids("Why?", history), whole.input_ids("Why?", history))
    assert (blank.tokens, blank.placeholders) == (whole.tokens, whole.placeholders)
    assert blank.inputs[loaded.family.pixels.key].is_meta
    for name in loaded.family.rope:
        assert (name in blank.inputs) == (name in whole.inputs)
        if name in whole.inputs:
            assert torch.equal(blank.inputs[name], whole.inputs[name])
