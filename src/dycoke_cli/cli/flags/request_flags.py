"""Flags of a request, shared by ask, batch, eval and others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.cli.flags import options
from dycoke_cli.cli.flags.param_flags import FromParams
from dycoke_cli.compression.method import Method
from dycoke_cli.compression.pool import TokenBudget
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models import settings
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling

Frames = Annotated[
    Sampling, FromParams("Frame sampling", exclusive=("frames", "fps"), common=("frames",))
]
Budget = Annotated[TokenBudget, FromParams("Frame sampling")]
Limiting = Annotated[Limits, FromParams("Limits")]
Loading = Annotated[LoadOptions, FromParams("Model")]
Generation = Annotated[GenerationOptions, FromParams("Generation")]


BRIEF = "--model --frames --fps --method --merge-ratio --retain --max-new-tokens --quiet"
"""Flags on the short help pages of ask, batch and chat; each adds its own, up to 20 in all."""


@dataclass(frozen=True)
class ModelFlag:
    """Flag of the model."""

    model: options.Model = None

    @property
    def named(self) -> str | None:
        """Model of the flag, otherwise of `dycoke models default`; None for the bundled one."""
        return settings.default_model() if self.model is None else self.model


def request(
    model: ModelFlag,
    loading: LoadOptions,
    sampling: Sampling,
    generation: GenerationOptions,
    limits: Limits,
    subtitles: str | None = None,
    budget: TokenBudget | None = None,
) -> Request:
    """Build the request from the flags of a command, without a method."""
    if limits.require_sandbox:  # once here, and not as an error of each video
        from dycoke_cli.video.decoder import sandbox

        limits.check_sandbox(sandbox())
    return Request(
        model=model.named or settings.BUNDLED,
        loading=loading,
        sampling=sampling,
        method=Method(),
        generation=generation,
        subtitles=subtitles,
        limits=limits,
        max_tokens=None if budget is None else budget.max_tokens,
    )
