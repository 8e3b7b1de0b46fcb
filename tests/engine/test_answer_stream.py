"""Streams of a batch: each is what it is alone, whatever the others do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TextStreamer

from dycoke_cli import DyCoke, VideoSession
from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.registry import parse_spec
from dycoke_cli.engine.generate import AnswerStream, BatchStreamer, Receiver
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.errors import ModelError
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.engine.batches import spoilt
from tests.families.sessions import bundled
from tests.families.sessions import same as same_answers

VIDEOS = Path(__file__).parents[2] / "sample_videos"
ASKED = {
    "turn": "What happens?",
    "vanish": "What happens in the video?",
    "appear": "Which shape turns, and what colour is it?",
}
PRUNED = DyCoke(prune_layer=2)

Events = list[tuple[int, str | Answer]]


@pytest.fixture(scope="module")
def sessions() -> list[VideoSession]:
    clips = [read(VIDEOS / f"{name}.mp4", Sampling(frames=4)) for name in ASKED]
    return [VideoSession(bundled(), clip) for clip in clips]


def streamed(
    sessions: Sequence[VideoSession],
    method: Any = PRUNED,
    most: Sequence[int | None] = (None, None, None),
    has_left: Callable[[int, Events], bool] = lambda number, events: False,
) -> Events:
    """The events of a batch with a question per session: of each, (its number, text or answer)."""
    events: Events = []

    def question(number: int) -> Question:
        def note(event: str | Answer) -> None:
            events.append((number, event))

        receiver = Receiver(note, note, partial(has_left, number, events))
        text = [*ASKED.values()][number]
        return Question(sessions[number], text, receiver=receiver, max_tokens=most[number])

    asked = [question(number) for number in range(len(sessions))]
    answers = ask_together(asked, method, GenerationOptions(max_tokens=40))
    received = {number: event for number, event in events if isinstance(event, Answer)}
    assert [received[number] for number in range(len(asked))] == answers
    return events


@cache
def alone(session: VideoSession, number: int, method: Any = PRUNED, most: int = 40) -> list[Any]:
    """The pieces of a question that is asked alone, and its answer."""
    pieces: list[Any] = []
    question = [*ASKED.values()][number]
    answer = session.ask(question, method, max_tokens=most, on_text=pieces.append)
    return [*pieces, answer]


def of(events: Events, number: int) -> list[Any]:
    return [event for other, event in events if other == number]


def same(ours: Sequence[Any], theirs: Sequence[Any]) -> bool:
    pieces, other_pieces = ours[:-1], theirs[:-1]
    return (
        pieces == other_pieces
        and same_answers(ours[-1], theirs[-1])
        and ours[-1].warnings == theirs[-1].warnings
    )


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["none", "dycoke", "evs:retain=0.5", "dycoke-plus:retain=0.25"])
def test_each_stream_is_as_it_is_alone(sessions: list[VideoSession], spec: str) -> None:
    method = parse_spec(spec).create()
    events = streamed(sessions, method)
    lengths = []
    for number, session in enumerate(sessions):
        assert same(of(events, number), alone(session, number, method))
        *pieces, answer = of(events, number)
        assert len(pieces) > 1
        assert "".join(pieces).strip() == answer.answer
        lengths.append(answer.tokens.generated)
    # An answer is complete when it ends, not when the longest one of the batch does.
    assert len({*lengths}) > 1
    ended = [number for number, event in events if isinstance(event, Answer)]
    assert ended == sorted(range(3), key=lambda number: lengths[number])
    assert isinstance(events[-1][1], Answer)
    assert not isinstance(events[-2][1], Answer)


def test_each_answer_has_its_own_limit_and_its_own_times(sessions: list[VideoSession]) -> None:
    most = (5, 3, 1)
    events = streamed(sessions, most=most)
    answers = []
    for number, session in enumerate(sessions):
        assert same(of(events, number), alone(session, number, most=most[number]))
        answers.append(of(events, number)[-1])
    assert [one.tokens.generated for one in answers] == [*most]
    assert [one.finish_reason for one in answers] == ["length"] * 3
    first, second, third = (one.seconds for one in answers)
    assert first.first_token == second.first_token == third.first_token
    assert third.decode < second.decode < first.decode
    assert third.total < second.total < first.total
    # The KV cache of an answer that has ended grows no more.
    assert answers[1].bytes.kv_cache <= answers[0].bytes.kv_cache


@pytest.mark.parametrize("leaves", [0, 1])
def test_a_client_that_leaves_disturbs_nobody(sessions: list[VideoSession], leaves: int) -> None:
    """Its answer ends there; where it would be the longest one, so does the batch."""
    most = [6, 6, 6]
    most[leaves] = 30
    steps: list[int] = []
    sessions[0].on_progress = lambda stage, done, total: steps.append(
        done if stage == "decode" else 0
    )

    def has_left(number: int, events: Events) -> bool:
        return number == leaves and len(of(events, number)) == 2

    try:
        events = streamed(sessions, most=most, has_left=has_left)
    finally:
        sessions[0].on_progress = lambda *_: None
    for number, session in enumerate(sessions):
        expected = alone(session, number, most=6)
        if number == leaves:
            *pieces, _ = of(events, number)
            assert pieces == expected[: len(pieces)]
            assert len(pieces) == 2
        else:
            assert same(of(events, number), expected)
    assert max(steps) == 6


def test_an_answer_that_fails_is_the_only_one(sessions: list[VideoSession]) -> None:
    events: Events = []

    def spoil(logits: torch.Tensor) -> None:
        logits[1] = torch.nan

    def note(number: int, event: str | Answer) -> None:
        events.append((number, event))

    asked = [
        Question(session, text, receiver=Receiver(*(partial(note, number),) * 2))
        for number, (session, text) in enumerate(zip(sessions, ASKED.values(), strict=True))
    ]
    with (
        spoilt(sessions[0].loaded.model, spoil, 4),
        pytest.raises(ModelError, match="aren't finite at token 5"),
    ):
        ask_together(asked, PRUNED, GenerationOptions(max_tokens=6))
    whole = alone(sessions[1], 1, most=6)
    assert "".join(of(events, 1)) == "".join(whole[:-1])[: len("".join(of(events, 1)))]
    assert not isinstance(of(events, 1)[-1], Answer)
    for number in (0, 2):
        assert same(of(events, number), alone(sessions[number], number, most=6))


class Letters:
    """A tokenizer whose tokens are bytes, as the pieces of some characters are in real ones."""

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        return bytes(tokens).decode(errors="replace")


TEXTS = ("Ein Mädchen läuft über die Straße. ", "少女が走る。", "🦊🦊 jump", "plain words, only")


class Stock(TextStreamer):
    """The pieces of the stock streamer, of one answer."""

    def __init__(self) -> None:
        super().__init__(Letters())  # type: ignore[arg-type]
        self.pieces: list[str] = []

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.pieces += [text] if text else []


@pytest.mark.parametrize("asked_before", [True, False])
def test_characters_of_several_tokens_come_whole(asked_before: bool) -> None:
    """In releases of transformers that ask before `put`, and in those that ask behind it."""
    rows = [text.encode() for text in TEXTS]
    pieces: list[list[str]] = [[] for _ in rows]
    ended: list[int] = []
    streams = [
        AnswerStream(Letters(), len(row), Receiver(got.append))
        for row, got in zip(rows, pieces, strict=True)
    ]
    streamer = BatchStreamer(iter(range(999)).__next__, streams, on_end=ended.append)
    ids = torch.zeros(len(rows), 5, dtype=torch.int64)
    streamer.put(ids)
    for step in range(max(map(len, rows))):
        token = torch.tensor([row[step] if step < len(row) else 0 for row in rows])
        ids = torch.cat([ids, token[:, None]], 1)
        expected = [step + 1 >= len(row) for row in rows]
        if asked_before:
            assert streamer(ids, None).tolist() == expected
            streamer.put(token)
        else:
            streamer.put(token)
            assert streamer(ids, None).tolist() == expected
    streamer.end()
    assert ended == sorted(range(len(rows)), key=lambda number: len(rows[number]))
    for row, text, got in zip(rows, TEXTS, pieces, strict=True):
        stock = Stock()
        for byte in row:
            stock.put(torch.tensor([byte]))
        stock.end()
        assert got == stock.pieces
        assert "".join(got) == text
        assert "\ufffd" not in "".join(got)
