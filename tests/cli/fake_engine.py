"""Stands in for the model and its sessions, so that the CLI is tested alone and fast.

The fixture `fake` has it in this process; `faking(pause_s=0.2)` with `ask …` behind it is the
command `dycoke ask …` as a process.
"""

from __future__ import annotations

import json
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from dycoke_cli.answer.answer import (
    Answer,
    Bytes,
    Decode,
    Flops,
    OneVideo,
    ReportedFrames,
    ReportedModel,
    Seconds,
    Tokens,
)
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import ModelRef
from dycoke_cli.models.families import FAMILIES, ModelInfo

if TYPE_CHECKING:
    from dycoke_cli.engine.session import Question

FRAMES_TOKENS = 16


def _allocator_failure() -> Exception:
    __import__("torch")  # which has raised it
    return RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
    )


FAILURES: dict[str, Callable[[], Exception]] = {
    "memory": lambda: MemoryError(),
    "torch_cpu": _allocator_failure,
    "bug": lambda: KeyError("no such [bold]thing[/bold]"),
    "disk": lambda: OSError(28, "No space left on device", "/somewhere"),
}


@dataclass
class FakeLoaded:
    name: str
    layers: int = 10  # as the bundled model, by whose files methods are bound
    seconds_load: float = 0.5
    input_device: ClassVar = types.SimpleNamespace(type="cpu")
    model: ClassVar = types.SimpleNamespace(dtype="float32", get_decoder=lambda: None)

    @property
    def info(self) -> ModelInfo:
        kind, defaults = "llava_onevision", {"prune_layer": 2, "positions": "kept"}
        return ModelInfo(kind, FAMILIES[kind], defaults, self.layers, self.name)

    def fit(self, frames: int, height: int, width: int) -> None:
        """Frames are kept as decoded."""


def load(model: str | ModelRef, **options: Any) -> FakeLoaded:
    return FakeLoaded(model if isinstance(model, str) else model.name)


class Fake(list["FakeSession"]):
    """The sessions that were made, and how they answer from now on.

    Attributes:
        answer: its words come one after the other.
        pause_s: seconds before the next word.
        failure: one of `FAILURES`, in place of the rest of an answer; or "model", which can't be
            loaded.
        fail_after: words before the failure.
        memory_warning: of each question.
    """

    def __init__(
        self,
        *,
        answer: str = "a red circle moves right",
        pause_s: float = 0.0,
        failure: str = "",
        fail_after: int = 0,
        memory_warning: str | None = None,
    ) -> None:
        super().__init__()
        self.answer, self.pause_s, self.memory_warning = answer, pause_s, memory_warning
        self.failure, self.fail_after = failure, fail_after

    def load(self, model: str | ModelRef, **options: Any) -> FakeLoaded:
        """In place of `models.load.load`."""
        loaded = load(model)
        if self.failure == "model":
            raise ModelError(
                f"there is no model {loaded.name!r} and no such folder; did you mean mini?"
            )
        return loaded

    def session(self, *given: Any, **options: Any) -> FakeSession:
        """In place of `VideoSession`."""
        self.append(FakeSession(self, *given, **options))
        return self[-1]

    def install(self, patch: pytest.MonkeyPatch) -> Fake:
        """Take the place of the real ones."""
        patch.setattr("dycoke_cli.models.load.load", self.load)
        patch.setattr("dycoke_cli.engine.session.is_asked_alone", lambda *asked: True)
        patch.setattr("dycoke_cli.engine.supported.check_decoder", lambda decoder, method: None)
        patch.setattr("dycoke_cli.loop.answer_batch.VideoSession", self.session)
        patch.setattr("dycoke_cli.loop.answer_batch.ask_together", ask_together)
        return self


def faking(**how: Any) -> list[str]:
    """A command of a process, behind which those of `dycoke` stand; `how` as of `Fake`."""
    return [sys.executable, __file__, json.dumps(how)]


class FakeSession:
    """Says an answer, word by word, and remembers how it was asked."""

    def __init__(
        self,
        fake: Fake,
        loaded: FakeLoaded,
        clip: Any,
        on_progress: Callable[[str, int, int], None] | None = None,
        *,
        others: Sequence[Any] = (),
        seconds_load: float = 0.0,
        seconds_video_decode: float = 0.0,
        reuse: bool = True,
        cache: object = None,
        windowed: object = None,
    ) -> None:
        self.fake = fake
        self.loaded, self.clip, self.on_progress = loaded, clip, on_progress
        self.info = loaded.info
        self.clips = [clip, *others]
        self.seconds_load, self.seconds_video_decode = seconds_load, seconds_video_decode
        self.reuse, self.cache = reuse, cache
        self.asked: list[dict[str, Any]] = []

    windowed = None
    is_prefilled = False

    def record_attention_for(self, methods: Sequence[Any]) -> None:
        """Nothing is encoded."""

    def memory_warning(self, question: str, method: Any, history: object = ()) -> str | None:
        return self.fake.memory_warning

    def finish(self) -> None:
        """Nothing was read in windows."""

    def ask(
        self,
        question: str,
        method: Any,
        *,
        on_text: Callable[[str], None] | None = None,
        history: tuple[tuple[str, str], ...] = (),
        **generation: Any,
    ) -> Answer:
        options = GenerationOptions(**generation)
        max_tokens, seed = options.max_tokens, options.seed
        asked = {"question": question, "method": method, "history": history}
        self.asked.append({**asked, **vars(options)})
        if options.temperature and seed is None:  # drawn for each question
            seed = 40 + len(self.asked)
        frames = sum(len(clip.timestamps_s) for clip in self.clips)
        for frame in range(frames):
            self._progress("vision", frame + 1, frames)
        self._progress("prefill", 1, 1)
        fake, words = self.fake, self.fake.answer.split(" ")
        cut = words[:max_tokens]
        for number, word in enumerate(cut):
            if fake.failure in FAILURES and number == fake.fail_after:
                raise FAILURES[fake.failure]()
            self._progress("decode", number + 1, max_tokens)
            if on_text is not None:
                on_text(word if number == 0 else f" {word}")
            time.sleep(fake.pause_s)
        return self._answer(question, method, " ".join(cut), len(cut) < len(words), seed, frames)

    def _progress(self, stage: str, done: int, total: int) -> None:
        if self.on_progress is not None:
            self.on_progress(stage, done, total)
            time.sleep(self.fake.pause_s / 4)

    def _answer(
        self, question: str, method: Any, text: str, cut: bool, seed: int | None, frames: int
    ) -> Answer:
        visual = frames * FRAMES_TOKENS
        kept = method.kept_tokens(frames, FRAMES_TOKENS)
        pruned = method.parameters().get("kv_prune", False)
        active = int(kept * 0.3) if pruned else kept
        generated = len(text.split()) + 1
        each = [len(one.timestamps_s) for one in self.clips]
        warnings = list(self.clip.warnings)
        if expected := self.memory_warning(question, method):
            warnings.append(expected)
        from tests.documents import example

        return example(
            Answer,
            question=question,
            answer=text,
            finish_reason="length" if cut else "stop",
            seed=seed,
            model=example(ReportedModel, name=self.loaded.name, dtype="bfloat16", device="cpu"),
            method={"name": method.name, **method.parameters()},
            frames=ReportedFrames(frames, tuple(t for one in self.clips for t in one.timestamps_s)),
            videos=ABSENT
            if len(each) == 1
            else tuple(
                OneVideo(
                    frames=ReportedFrames(count, tuple(one.timestamps_s)),
                    visual=count * FRAMES_TOKENS,
                    visual_kept=method.kept_tokens(count, FRAMES_TOKENS),
                )
                for one, count in zip(self.clips, each, strict=True)
            ),
            tokens=example(
                Tokens,
                visual=visual,
                visual_kept=kept,
                visual_active_in_decode=float(active),
                visual_read_per_step=(kept + active) / 2,
                generated=generated,
            ),
            decode=example(
                Decode,
                steps=generated - 1,
                choices_renewed=2,
                tokens_evicted=14,
                tokens_recalled=12,
            ),
            flops=Flops(prefill=kept * 6.1e6, decode=active * 2.0e5, uncompressed=visual * 7e6),
            seconds=example(
                Seconds, load=self.seconds_load, video_decode=self.seconds_video_decode
            ),
            tokens_per_second=(generated - 1) / 0.12,
            bytes=example(
                Bytes,
                weights=11_400_000,
                kv_cache=kept * 2048,
                kv_active=active * 2048,
                read_per_token=7_000_000 + active * 2048,
            ),
            warnings=tuple(warnings),
        )


def ask_together(
    questions: Sequence[Question], method: Any, options: GenerationOptions
) -> list[Answer]:
    """See `engine.ask_together`: the one question, for each is asked alone."""
    [one] = questions
    session: Any = one.session
    answer = session.ask(
        one.question,
        method,
        on_text=one.receiver.on_text,
        history=tuple(one.history),
        **vars(options),
    )
    one.receiver.on_answer(answer)
    return [answer]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a file, it is in no package
    Fake(**json.loads(sys.argv.pop(1))).install(pytest.MonkeyPatch())
    from dycoke_cli.cli.main import main

    sys.exit(main())
