"""Rows, answers and an engine that only pretends, whose times are those of a clock set by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from dycoke_cli.answer.answer import Answer, Bytes, Seconds, Tokens
from dycoke_cli.ask import Answered, Ask, Event, Seen, Warn
from dycoke_cli.bench.bench_report import Stages
from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.evaluation.method_row import MethodRow
from tests.documents import example


def rows_of(methods: str) -> list[MethodRow]:
    return [MethodRow(spec, spec.create().parameters()) for spec in parse_specs(methods)]


def answer(text: str = "a dog runs", generated: int = 4, kv: int = 1000, **given: Any) -> Answer:
    tokens = example(Tokens, visual=64, visual_kept=32, generated=generated)
    held = example(Bytes, kv_cache=kv, peak_total=given.pop("peak", None))
    seconds = given.pop("seconds", example(Seconds))
    return example(Answer, answer=text, tokens=tokens, bytes=held, seconds=seconds, **given)


def measured(text: str = "a dog runs", total: float = 1.0, **given: Any) -> tuple[Answer, Stages]:
    return answer(text, **given), stages(total)


def stages(total: float, **given: Any) -> Stages:
    return example(Stages, **{"decode_per_token": None, **given}, total=total)


@dataclass
class PretendedAsker:
    """Takes 1 s to read a video, 0.5 s to prepare it and 4 s to encode it, once per run.

    Prefill takes 2 s and each token behind the first 0.25 s, of which there are three.
    """

    asked: list[Ask] = field(default_factory=list)
    generated: int = 4

    def submit(self, *asks: Ask, **_: Any) -> list[Any]:
        self.asked += asks
        each = (self._events(ask, first=number == 0) for number, ask in enumerate(asks))
        return [SimpleNamespace(events=lambda events=events: events) for events in each]

    def _events(self, ask: Ask, *, first: bool) -> Iterator[Event]:
        shared = 0.0 if ask.blind or not first else 1.0
        yield Warn(f"{ask.question} is hard")
        if not ask.blind:
            yield Seen((), (), prepared_s=0.5)
        yield Answered(self.answered(ask.question, video_decode=shared, vision=4 * shared))

    def answered(self, question: str, video_decode: float, vision: float) -> Answer:
        before = video_decode + vision
        seconds = example(
            Seconds,
            video_decode=video_decode,
            vision=vision,
            prefill=2.0,
            first_token=before + 2.0,
            decode=0.75,
            total=before + 2.75,
        )
        return answer(generated=self.generated, seconds=seconds, question=question)
