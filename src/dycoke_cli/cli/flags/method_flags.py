"""Flags of compression methods: `--method`, guards, and the parameters that have flags."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import typer

from dycoke_cli.cli import completion
from dycoke_cli.cli.flags.param_flags import (
    FLAGGED,
    flag,
    in_flags,
    option,
    speaking_of_flags,
    value_of,
)
from dycoke_cli.cli.flags.spread import Each
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.methods.dycoke import FIRST_STAGE
from dycoke_cli.compression.registry import DEFAULT, METHODS, create, owner_near
from dycoke_cli.errors import UsageError
from dycoke_cli.param import Parameter
from dycoke_cli.request import Request

PANEL = "Compression"

AUTO = "auto"
"""Value of `--method` for the choice of `dycoke tune`."""

MethodName = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME[:PARAMETER=X,…]",
        autocompletion=completion.methods,
        help="Compression method and its parameters, as in dycoke:merge_ratio=0.5,window=8; "
        f"`dycoke methods` lists them. There are {', '.join(METHODS)}, and {AUTO}: what `dycoke "
        f"tune` chose. Default: {DEFAULT} without cache pruning; {AUTO} after `dycoke tune "
        "--save`.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
GuardBound = Annotated[
    float | None,
    typer.Option(
        "--guard",
        metavar="RISK",
        help="Ask with few tokens, and again with more where the answer isn't certain, so that "
        "P(answer differs from the uncompressed one) is at most this, with 95 % confidence. Needs "
        "`dycoke tune`; in eval, one more row.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
GuardMean = Annotated[
    float | None,
    typer.Option(
        "--guard-mean",
        metavar="RISK",
        help="Like --guard, but only on average over samples of videos; needs fewer videos.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]


def check_comparable(request: Request) -> None:
    """Check that --compare, which is given, has two methods to compare."""
    if request.method.name == "none":
        raise UsageError("--compare compares with --method none; choose another method")


def options() -> dict[str, Any]:
    """Typer options by parameter name."""
    return {name: option(parameters, PANEL) for name, parameters in FLAGGED.items()}


@dataclass(frozen=True)
class MethodFlags:
    """Flags of the compression method."""

    method: MethodName = None
    guard: GuardBound = None
    guard_mean: GuardMean = None
    parameters: Annotated[dict[str, Any], Each(options())] = field(default_factory=dict)

    @property
    def is_given(self) -> bool:
        """Whether a flag sets the method, one of its parameters, or a guard."""
        flags = (self.method, self.guard, self.guard_mean, *self.parameters.values())
        return any(value is not None for value in flags)

    def applied(self, request: Request) -> Request:
        """Add the chosen method to a request."""
        # Imported late: no help page needs it.
        from dycoke_cli.cli.flags.tuned_method import check_guarded, guards_with, tuned, tuning_for
        from dycoke_cli.guard.tuned import default_tuning

        given = [name for name, value in self.parameters.items() if value is not None]
        guarded = self.guard is not None or self.guard_mean is not None
        needs_tuning = self.method == AUTO or guarded
        if not needs_tuning:
            # Only a command without any method flag uses the saved tuning: a given parameter is of
            # the default method.
            if self.method is None and not given and not request.loading.random_weights:
                typed = request.generation.typed is not None
                tuning = default_tuning(request.model, typed=typed)
                if tuning is not None:
                    return tuned(request, tuning)
            return replace(request, method=self.chosen())
        flag = f"--method {AUTO}" if self.method == AUTO else "--guard"
        if given or self.method not in (None, AUTO):
            other = f"--{given[0].replace('_', '-')}" if given else f"--method {self.method}"
            raise UsageError(f"{flag} takes what `dycoke tune` chose; leave {other} out")
        if self.guard is not None and self.guard_mean is not None:
            raise UsageError("--guard and --guard-mean are two promises; give one of them")
        if guarded:
            check_guarded(request)
        tuning = tuning_for(request, flag, guarded=guarded)
        guards, cautions = guards_with(tuning, self.guard, self.guard_mean)
        request = tuned(request, tuning)
        guard = guards[0] if guards else None
        return replace(request, guard=guard, cautions=(*request.cautions, *cautions))

    def chosen(self) -> Method:
        """Method of the flags; parameters that depend on the model are None until it is bound."""
        if self.method == AUTO or self.guard is not None or self.guard_mean is not None:
            what, last = ("--guard", "eval") if self.method != AUTO else ("--method auto", "serve")
            raise UsageError(f"{what} is for ask, chat, batch and {last}; name a method here")
        from dycoke_cli.compression.method_specs import parse_spec  # imported late, as above

        spec = parse_spec(self.method or DEFAULT)
        given = dict(spec.given)
        flags = [name for name, value in self.parameters.items() if value is not None]
        alien = next((name for name in flags if spec.method not in FLAGGED[name]), None)
        if alien is not None and self.method is None:
            other = owner_near(alien, DEFAULT)
            raise UsageError(f"{flag(alien)} isn't a flag of {DEFAULT}: add --method {other}")
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
