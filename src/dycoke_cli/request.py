"""Request: model, sampling, compression method and generation options of a question.

`ask`, `batch`, `eval` and `bench` share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.compression.registry import identity
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.param import key_part
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from dycoke_cli.answer.answer import Answer
    from dycoke_cli.compression.method import Method


@dataclass(frozen=True)
class Request:
    """All options of an answer except the video and the question."""

    model: str  # value of `--model`
    loading: LoadOptions  # load options of the model
    sampling: Sampling  # frame sampling
    method: Method  # compression method with its parameters
    generation: GenerationOptions  # generation options
    # a file, or `video.subtitles.AUTO`; None for none. In the key of an answer they belong to the
    # video, so they aren't among `key_parts`.
    subtitles: str | None = field(default=None, kw_only=True)
    # limits of video decoding. Answers don't depend on them.
    limits: Limits = field(default=Limits(), kw_only=True)
    # warnings of each answer
    cautions: tuple[str, ...] = field(default=(), kw_only=True)
    video_tokens: int | None = field(
        default=None, kw_only=True
    )  # see `compression.pool.TokenBudget`

    def key_parts(self) -> dict[str, Any]:
        """Part of an answer's key that this request determines (all but the model)."""
        return {
            "method": {**identity(self.method), **key_part(self.method)},
            "sampling": key_part(self.sampling),
            "generation": key_part(self.generation),
            **({} if self.video_tokens is None else {"video_tokens": self.video_tokens}),
        }

    def noted(self, answer: Answer) -> Answer:
        """Add the cautions to an answer."""
        return replace(answer, warnings=(*answer.warnings, *self.cautions))

    def with_method(self, method: Method) -> Request:
        """The same request with another method, without the cautions of this one."""
        return replace(self, method=method, cautions=())
