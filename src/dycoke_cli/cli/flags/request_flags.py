"""Flags of a request, shared by ask, batch, eval and others, those of methods among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from dycoke_cli.cli.flags import shared_flags
from dycoke_cli.cli.flags.param_flags import (
    FLAGGED,
    FromParams,
    flag,
    in_flags,
    option,
    speaking_of_flags,
    value_of,
)
from dycoke_cli.compression.method import Method
from dycoke_cli.compression.methods.dycoke import FIRST_STAGE
from dycoke_cli.compression.pool import TokenBudget
from dycoke_cli.compression.registry import ABLATIONS, ALL, DEFAULT, METHODS, create, owner_near
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.models.load_options import BUNDLED, SPEECH_MODEL, LoadOptions, default_model
from dycoke_cli.param import Parameter
from dycoke_cli.request import Request
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling

PANEL = "Compression"

_FLAGS = shared_flags.flag_table(
    f"""
    [Compression]
    --method NAME[:PARAMETER=X,…]: Compression method and its parameters, as in
        dycoke:merge_ratio=0.5,window=8; `dycoke methods` lists them. There are
        {", ".join(METHODS)}. Default: {DEFAULT} without cache pruning.
    --retain R,…: Fractions of the visual tokens kept before the language model: a row at each for
        each method that takes a budget. Default: its own.
    """,
    {"--method": {"autocompletion": shared_flags.complete_methods}},
)
MethodName = Annotated[str | None, _FLAGS["--method"]]

_ABLATIONS = ", ".join(f"{name} ({row.summary})" for name, row in ABLATIONS.items())
_ROWS = shared_flags.flag_table(
    f"""
    --methods NAME[:PARAMETER=X,…],…: The rows of the table, as in
        none,dycoke:merge_ratio=0.5,window=8,evs; `dycoke methods` lists them. There are
        {", ".join(METHODS)}, {ALL} (every method), and {_ABLATIONS}.
    """,
    {"--methods": {"autocompletion": shared_flags.complete_rows}},
)
Methods = Annotated[str, _ROWS["--methods"]]
"""The methods that a table compares."""
Budgets = Annotated[str | None, _FLAGS["--retain"]]
"""The budgets at which it compares them."""


def check_comparable(request: Request) -> None:
    """Check that --compare, which is given, has two methods to compare."""
    if request.method.name == "none":
        raise UsageError("--compare compares with --method none; choose another method")


def method_options() -> dict[str, Any]:
    """Typer options by parameter name."""
    return {name: option(parameters, PANEL) for name, parameters in FLAGGED.items()}


@dataclass(frozen=True)
class MethodFlags:
    """Flags of the compression method."""

    method: MethodName = None
    parameters: Annotated[dict[str, Any], method_options()] = field(default_factory=dict)

    def chosen(self) -> Method:
        """Method of the flags; parameters that depend on the model are None until it is settled."""
        # Imported late: no help page needs it.
        from dycoke_cli.compression.registry import parse_spec

        spec = parse_spec(self.method or DEFAULT)
        given = dict(spec.given)
        flags = [name for name, value in self.parameters.items() if value is not None]
        alien = next((name for name in flags if spec.method not in FLAGGED[name]), None)
        if alien is not None and self.method is None:
            other = owner_near(alien, DEFAULT)
            raise UsageError(f"the method {DEFAULT} has no {flag(alien)}: add --method {other}")
        if self.method is None and not {*flags} - FIRST_STAGE:
            # Who names neither the method nor a parameter of stage 2: docs/methods.md says why.
            given |= METHODS[DEFAULT].ablations["ttm"].parameters
        for name, flagged in self.parameters.items():
            if flagged is None:
                continue
            with speaking_of_flags():
                value = value_of(self._parameter(name, spec.method), flagged)
            # `--method fastv:retain=0.5 --retain 0.5` is fine; different values aren't.
            if name in spec.given and spec.given[name] != value:
                raise UsageError(
                    f"{in_flags(f'{name}={value}')} contradicts --method {spec.text}; give one of "
                    "them"
                )
            given[name] = value
        with speaking_of_flags():
            return create(spec.method, **given)

    def _parameter(self, name: str, method: str) -> Parameter:
        """The parameter as defined by the method: its words may mean other numbers elsewhere."""
        owners = FLAGGED[name]
        return owners.get(method, next(iter(owners.values())))


Frames = Annotated[
    Sampling, FromParams("Frame sampling", exclusive=("frames", "fps"), common=("frames",))
]
Limiting = Annotated[Limits, FromParams("Limits")]
BRIEF = "--model --frames --fps --method --merge-ratio --retain --max-tokens --quiet"
"""Flags on the short help pages of ask, batch and chat; each adds its own, up to 20 in all."""


@dataclass(frozen=True)
class ModelFlag:
    """Flag of the model."""

    model: shared_flags.Model = None

    @property
    def named(self) -> str | None:
        """Model of the flag, otherwise of the environment; None for the bundled one."""
        return default_model() if self.model is None else self.model


@dataclass(frozen=True, kw_only=True)
class Asking(ModelFlag):
    """Flags of a question without those of the method: a table of methods has its own."""

    sampling: Frames
    limits: Limiting
    loading: Annotated[LoadOptions, FromParams("Model")]
    generation: Annotated[GenerationOptions, FromParams("Generation")]

    def request(self, method: Method | None = None, **more: Any) -> Request:
        """Build the request.

        Args:
            method: method of the flags; none where each row of a table has its own.
            more: other values of the request.
        """
        if self.limits.require_sandbox:  # once here, and not as an error of each video
            from dycoke_cli.video.decoder import sandbox

            self.limits.check_sandbox(sandbox())
        return Request(
            model=self.named or BUNDLED,
            loading=self.loading,
            sampling=self.sampling,
            method=method or Method(),
            generation=self.generation,
            limits=self.limits,
            **more,
        )


@dataclass(frozen=True, kw_only=True)
class CappedAsking(Asking):
    """Flags of a question, and of the visual tokens that are read at most."""

    budget: Annotated[TokenBudget, FromParams("Frame sampling")]

    def request(self, method: Method | None = None, **more: Any) -> Request:
        """See `Asking`."""
        return super().request(method, video_tokens=self.budget.video_tokens, **more)


@dataclass(frozen=True, kw_only=True)
class Questioning(CappedAsking):
    """Flags of a question in ask, chat, batch and caption."""

    method: MethodFlags
    subtitles: shared_flags.Subtitles = None
    speech_model: shared_flags.SpeechModel = SPEECH_MODEL

    def whole_request(self) -> Request:
        """The request of all flags."""
        lines = {"subtitles": self.subtitles, "speech_model": self.speech_model}
        return self.request(self.method.chosen(), **lines)
