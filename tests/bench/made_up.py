"""Rows, answers and an engine that only pretends, whose times are those of a clock set by hand."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.answer.answer import Answer, Bytes, Seconds, Tokens
from dycoke_cli.bench.bench_report import MeanTokens, Memory, Stages, TimedRow
from dycoke_cli.bench.timed_runs import TimedAnswer
from dycoke_cli.compression.method_specs import parse_specs
from dycoke_cli.evaluation.method_row import MethodRow
from dycoke_cli.video import Sampling
from tests.documents import example


def rows_of(methods: str) -> list[MethodRow]:
    return [MethodRow(spec, spec.create().parameters()) for spec in parse_specs(methods)]


def answer(text: str = "a dog runs", generated: int = 4, kv: int = 1000, **given: Any) -> Answer:
    tokens = example(Tokens, visual=64, visual_kept=32, generated=generated)
    held = example(Bytes, kv_cache=kv, peak_total=given.pop("peak", None))
    seconds = given.pop("seconds", example(Seconds))
    return example(Answer, answer=text, tokens=tokens, bytes=held, seconds=seconds, **given)


def measured(text: str = "a dog runs", total: float = 1.0, **given: Any) -> TimedAnswer:
    return TimedAnswer(answer(text, **given), stages(total))


def stages(total: float, **given: Any) -> Stages:
    return example(Stages, **{"decode_per_token": None, **given}, total=total)


def row(
    spec: str,
    total: float,
    changed: int | None,
    *,
    spread: float = 0.0,
    kv: float = 1000.0,
    generated: float = 4.0,
    control: bool = False,
) -> TimedRow:
    return TimedRow(
        spec=spec,
        method=spec.partition(":")[0],
        parameters={},
        control=control,
        seconds=stages(total),
        total_least=total - spread,
        total_most=total + spread,
        tokens=MeanTokens(64, 32, generated),
        bytes=Memory(kv, None, None),
        changed=changed,
        changed_share=None if changed is None else changed / 4,
    )


@dataclass
class Clock:
    """Shows what it was set to."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class PretendedEngine:
    """Takes 1 s to read a video, 0.5 s to prepare it and 4 s to encode it, each time it does so.

    Prefill takes 2 s and each token behind the first 0.25 s, of which there are three.
    """

    clock: Clock = field(default_factory=Clock)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    generated: int = 4

    def read(self, video: str, sampling: Sampling) -> Any:
        self.events.append(("read", video, sampling.frames))
        self.clock.now += 1.0
        return SimpleNamespace(video=video)

    def session(self, loaded: Any, clip: Any, **options: Any) -> Any:
        assert options == {"reuse": False}  # neither a cache on disk nor a prefix that is kept
        self.clock.now += 0.5
        return _Session(self, clip.video)

    def put_in_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        session = types.ModuleType("dycoke_cli.engine.session")
        session.VideoSession = self.session  # type: ignore[attr-defined]
        asking = types.ModuleType("dycoke_cli.engine.ask_together")
        asking.ask_without_video = self.blind  # type: ignore[attr-defined]
        for module in session, asking:
            monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr("dycoke_cli.video.read", self.read, raising=False)

    def blind(self, loaded: Any, question: str, *, options: Any) -> Answer:
        self.events.append(("blind", question))
        return self.answered(question, vision=0.0)

    def answered(self, question: str, vision: float) -> Answer:
        seconds = example(
            Seconds,
            video_decode=0.0,
            vision=vision,
            prefill=2.0,
            first_token=vision + 2.0,
            decode=0.75,
            total=vision + 2.75,
        )
        self.clock.now += seconds.total
        return answer(generated=self.generated, seconds=seconds, question=question)


@dataclass
class _Session:
    engine: PretendedEngine
    video: str
    encoded: bool = False

    def memory_warning(self, question: str, method: Any) -> str | None:
        return None

    def ask(self, question: str, method: Any, on_text: Callable[..., None] | None = None, **_: Any):
        vision = 0.0 if self.encoded else 4.0
        self.encoded = True
        self.engine.events.append(("ask", self.video, method.name, question, vision))
        return self.engine.answered(question, vision)
