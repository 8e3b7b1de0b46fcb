"""Answers to the questions of `Samples` that no model gave, where the model isn't the point."""

from __future__ import annotations

import json
from pathlib import Path
from zlib import crc32

from dycoke_cli.answer.answer import Answer, ReportedFrames, Tokens
from dycoke_cli.ask import Answered, Ask, Failed
from dycoke_cli.errors import VideoError
from dycoke_cli.loop.asker import Asker
from tests.documents import example
from tests.evaluation.samples import CLIPS
from tests.runs.pretended import Last, Pretended

PER_FRAME = 16


class Prepared(Pretended):
    """An engine that knows the answers: each method gives another two thirds of them."""

    def _event(self, ask: Ask) -> Last:
        method, [video] = ask.request.method, ask.videos
        self.asked.append((video.place, ask.question))
        if not ask.blind and not Path(video.path).exists():
            return Failed(VideoError(f"{video.path} doesn't exist"))
        frames = 0 if ask.blind else ask.request.sampling.frames or 3
        kept = method.kept_tokens(frames, PER_FRAME) if frames else 0
        knows = crc32(f"{video.place} {ask.question} {method.name} {frames}".encode()) % 3
        wrong = f"Nothing is known of {video.place}."
        answer = example(
            Answer,
            question=ask.question,
            answer=_answers().get((video.place, ask.question), wrong) if knows else wrong,
            method={"name": method.name, **method.parameters()},
            frames=ReportedFrames(frames, tuple(map(float, range(frames)))),
            tokens=example(
                Tokens,
                visual=frames * PER_FRAME,
                visual_kept=kept,
                visual_active_in_decode=float(kept),
                visual_read_per_step=float(kept),
                generated=5,
            ),
        )
        return Answered(ask.named(answer), seconds=0.01)


def never(*_: object) -> Asker:
    """In place of what opens an engine, where no question may be asked."""
    raise AssertionError("something was asked")


def _answers() -> dict[tuple[str, str], str]:
    clips = json.loads((CLIPS / "samples.json").read_text(encoding="utf-8"))
    return {
        (clip["file"], question["text"]): question["answer"]
        for clip in clips
        for question in clip["questions"]
    }
