"""How questions are asked: what ask, batch and eval share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.compression.registry import identity
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.param import key_part
from dycoke_cli.video import Sampling
from dycoke_cli.video.limits import Limits

if TYPE_CHECKING:
    from dycoke_cli.answer.answer import Answer
    from dycoke_cli.answer.guarantee import Tuned
    from dycoke_cli.compression.base import Method
    from dycoke_cli.guard.ladder import Guard


@dataclass(frozen=True)
class Request:
    """How a question is asked, whatever it is, about whatever video.

    Args:
        model: what `--model` takes.
        loading: how it is loaded.
        sampling: which frames are read.
        method: which visual tokens are dropped, with all its parameters.
        generation: how answers are generated.
        subtitles: a file, or `video.subtitles.AUTO`; None for none. In a key they are part of what
            tells the video.
        limits: that reading a video is held to; no answer depends on them.
        tuned: what `dycoke tune` chose the method by; None where a user did.
        guard: budgets that are tried before the answer counts; None asks once.
        cautions: warnings about both.
    """

    model: str
    loading: LoadOptions
    sampling: Sampling
    method: Method
    generation: GenerationOptions
    subtitles: str | None = field(default=None, kw_only=True)
    limits: Limits = field(default=Limits(), kw_only=True)
    tuned: Tuned | None = field(default=None, kw_only=True)
    guard: Guard | None = field(default=None, kw_only=True)
    cautions: tuple[str, ...] = field(default=(), kw_only=True)

    def key_parts(self) -> dict[str, Any]:
        """What an answer depends on beside its video, its question and the model, for a key."""
        return {
            "method": {**identity(self.method), **key_part(self.method)},
            "sampling": key_part(self.sampling),
            "generation": key_part(self.generation),
            **({} if self.guard is None else {"guard": self.guard.key_part()}),
        }

    def noted(self, answer: Answer) -> Answer:
        """An answer with what chose its method, and all warnings in terms of the flags given."""
        warnings = (*map(self.advise, answer.warnings), *self.cautions)
        answer = replace(answer, warnings=warnings)
        return answer if self.tuned is None else replace(answer, tuned=self.tuned)

    @property
    def is_known_here_alone(self) -> bool:
        """Whether no server can answer it: of what was tuned, and of a guard, it knows nothing."""
        return self.tuned is not None or self.guard is not None

    def asking_by(self, method: Method) -> Request:
        """The same by another method, without what chose or guarded the one before."""
        return replace(self, method=method, tuned=None, guard=None, cautions=())

    def advise(self, sentence: str) -> str:
        """A sentence that advises other flags, in terms of those that were given."""
        if self.sampling.fps is None:
            return sentence
        sentence = re.sub(r"--frames(?= \d+ or fewer)", "--max-frames", sentence)
        more = "a higher --fps" if self.sampling.max_frames is None else "more --max-frames"
        sentence = sentence.replace("more --frames", more)
        return sentence.replace("fewer --frames", "a lower --fps")
