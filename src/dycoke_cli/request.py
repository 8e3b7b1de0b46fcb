"""Request: model, sampling, compression method and generation options of a question.

`ask`, `batch`, `eval` and `bench` share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import SPEECH_MODEL, LoadOptions
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from dycoke_cli.compression.method import Method
    from dycoke_cli.video.subtitles import SubtitleSource


@dataclass(frozen=True)
class Request:
    """All options of an answer except the video and the question."""

    model: str  # value of `--model`
    loading: LoadOptions  # load options of the model
    sampling: Sampling  # frame sampling
    method: Method  # compression method with its parameters
    generation: GenerationOptions  # generation options
    # a file, `video.subtitles.AUTO` or `SPEECH`; None for none. In the key of an answer they belong
    # to the video.
    subtitles: str | None = field(default=None, kw_only=True)
    speech_model: str = field(default=SPEECH_MODEL, kw_only=True)  # hears subtitles that are spoken
    # limits of video decoding. Answers don't depend on them.
    limits: Limits = field(default=Limits(), kw_only=True)
    # warnings of each answer
    cautions: tuple[str, ...] = field(default=(), kw_only=True)
    # see `compression.pool.TokenBudget`
    video_tokens: int | None = field(default=None, kw_only=True)

    @property
    def model_name(self) -> str:
        """The model as clients see it: of a folder no path."""
        return Path(self.model).resolve().name if Path(self.model).is_dir() else self.model

    def subtitles_of(self, video: str, *, required: bool = True) -> SubtitleSource | None:
        """Where the subtitles of a video come from; raises where there can't be any."""
        if self.subtitles is None:
            return None
        from dycoke_cli.video.subtitles import find_source  # late: no help page needs it

        model = self.speech_model
        found = find_source(video, self.subtitles, required=required, speech_model=model)
        if found.speech is not None:
            from dycoke_cli.models.speech import speech_model  # late: few videos are heard

            found = replace(found, digest=f"{speech_model(model).identity} {found.language}")
        return found

    def with_method(self, method: Method) -> Request:
        """The same request with another method, without the cautions of this one."""
        return replace(self, method=method, cautions=())
