"""From flags to a request: what ask, batch and eval share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.cli.flags import options
from dycoke_cli.cli.flags.spread import FromParams
from dycoke_cli.compression.base import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models import settings
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling

Frames = Annotated[
    Sampling, FromParams("Frame sampling", exclusive=("frames", "fps"), common=("frames",))
]
Limiting = Annotated[Limits, FromParams("Limits")]
Loading = Annotated[LoadOptions, FromParams("Model")]
Generation = Annotated[GenerationOptions, FromParams("Generation")]


BRIEF = """
    --question --model --frames --fps --start --end --subtitles --device --quantize --method
    --merge-ratio --prune-ratio --prune-layer --retain --merge-stage --max-new-tokens --estimate
    --quiet
"""
"""What most people need of ask and batch, for their short pages."""


@dataclass(frozen=True)
class Model:
    """Which model answers."""

    model: options.Model = None

    @property
    def named(self) -> str | None:
        """The model that was chosen, by the flag or before; None where the bundled one answers.

        Raises:
            ModelError: the settings can't be read.
        """
        return settings.default_model() if self.model is None else self.model


def request(
    model: Model,
    loading: LoadOptions,
    sampling: Sampling,
    generation: GenerationOptions,
    method: Method | None = None,
    subtitles: str | None = None,
    *,
    limits: Limits,
) -> Request:
    """What the flags of a command choose.

    Raises:
        ModelError: the settings can't be read.
    """
    return Request(
        model=model.named or settings.BUNDLED,
        loading=loading,
        sampling=sampling,
        method=method or Method(),
        generation=generation,
        subtitles=subtitles,
        limits=limits,
    )
