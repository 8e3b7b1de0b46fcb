"""Flags of compression methods: `--method`, `--methods`, and one per parameter name."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import typer

from dycoke_cli import plugins
from dycoke_cli.cli import completion
from dycoke_cli.cli.flags.param_flags import in_flags, option, speaking_of_flags, value_of
from dycoke_cli.cli.flags.spread import Each
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import DEFAULT, METHODS, create, name_of, owners
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.method_specs import ABLATIONS, ALL, Spec, parse_spec, parse_specs
from dycoke_cli.guard.ladder import Guard, guard_of
from dycoke_cli.guard.tuned import Tuning, default_tuning, tuning_of
from dycoke_cli.param import Parameter, key_part
from dycoke_cli.request import Request

PANEL = "Compression"
_OWNERS = owners()

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
        f"tune` chose. Default: {DEFAULT}, or {AUTO} after `dycoke tune --save`.",
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
        help="The weaker promise, for fewer videos: --guard on average only.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Methods = Annotated[
    str,
    typer.Option(
        metavar="NAME[:PARAMETER=X,…],…",
        autocompletion=completion.rows,
        help="The rows of the table, as in none,dycoke:merge_ratio=0.5,window=8,evs; `dycoke "
        f"methods` lists them. There are {', '.join(METHODS)}, {ALL} (every method), {AUTO} (what "
        "`dycoke tune` chose), and "
        + ", ".join(f"{name} ({row.summary})" for name, row in ABLATIONS.items())
        + ".",
    ),
]
Budgets = Annotated[
    str | None,
    typer.Option(
        "--retain",
        metavar="R,…",
        help="Fractions of the visual tokens kept before the language model: a row at each for "
        "each method that takes a budget. Default: its own.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]


def options() -> dict[str, Any]:
    """Typer options by parameter name."""
    return {name: option(parameters, _panel(name)) for name, parameters in _OWNERS.items()}


def _panel(parameter: str) -> str:
    """Help panel of a parameter: its method's, or the common one if it isn't specific to a method.

    Specific means that one class declares it, and that the default method doesn't inherit it.
    """
    kinds = {kind for name in _OWNERS[parameter] for kind in METHODS[name].mro()}
    declaring = [
        k for k in kinds if issubclass(k, Method) and parameter in inspect.get_annotations(k)
    ]
    origins = [
        k for k in declaring if not any(issubclass(k, other) for other in {*declaring} - {k})
    ]
    if len(origins) > 1 or issubclass(METHODS[DEFAULT], origins[0]):
        return PANEL
    return f"{origins[0].title} (--method {', '.join(_OWNERS[parameter])})"


def _refuse(parameter: str) -> None:
    """Report that a plug-in's parameter gets no flag, because the name is taken.

    Raises:
        KeyError: the method isn't from a plug-in.
    """
    for method in _OWNERS[parameter]:
        sentence = f"its parameter {parameter} gets no flag, for dycoke has one of that name"
        plugins.add_problem("method", method, f"{sentence}; rename it")


@dataclass(frozen=True)
class MethodFlags:
    """Flags of the compression method."""

    method: MethodName = None
    guard: GuardBound = None
    guard_mean: GuardMean = None
    parameters: Annotated[dict[str, Any], Each(options(), _refuse)] = field(default_factory=dict)

    def applied(self, request: Request) -> Request:
        """Add the chosen method to a request.

        Raises:
            UsageError: see `chosen`; or --method auto or --guard without a stored tuning of this
                model and version.
            ModelError: they need the model, which isn't on this machine.
        """
        given = [name for name, value in self.parameters.items() if value is not None]
        needs_tuning = self.method == AUTO or self.guard is not None or self.guard_mean is not None
        if not needs_tuning:
            # Only a command without any method flag uses the saved tuning: a given parameter is of
            # the default method.
            if self.method is None and not given and not request.loading.random_weights:
                tuning = default_tuning(request.model)
                if tuning is not None:
                    return _tuned(request, tuning)
            return replace(request, method=self.chosen())
        flag = f"--method {AUTO}" if self.method == AUTO else "--guard"
        if given or self.method not in (None, AUTO):
            other = f"--{given[0].replace('_', '-')}" if given else f"--method {self.method}"
            raise UsageError(f"{flag} takes what `dycoke tune` chose; leave {other} out")
        if self.guard is not None and self.guard_mean is not None:
            raise UsageError("--guard and --guard-mean are two promises; give one of them")
        tuning = _tuning(request, flag)
        guards, cautions = _guards(request, tuning, self.guard, self.guard_mean)
        request = _tuned(request, tuning)
        guard = guards[0] if guards else None
        return replace(request, guard=guard, cautions=(*request.cautions, *cautions))

    def chosen(self) -> Method:
        """Method of the flags; parameters that depend on the model are None until it is bound.

        Raises:
            UsageError: an unknown method or parameter, a value out of range, two values for one
                parameter, or an invalid combination.
        """
        if self.method == AUTO or self.guard is not None or self.guard_mean is not None:
            flag, last = ("--guard", "eval") if self.method != AUTO else ("--method auto", "serve")
            raise UsageError(f"{flag} is for ask, chat, batch and {last}; name a method here")
        spec = parse_spec(self.method or DEFAULT)
        given = dict(spec.given)
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
        owners = _OWNERS[name]
        return owners.get(method, next(iter(owners.values())))


def _tuning(request: Request, flag: str) -> Tuning:
    if request.loading.random_weights:
        raise UsageError(f"{flag} needs a tuned model, and random weights can't be tuned")
    return tuning_of(request.model)


def _tuned(request: Request, tuning: Tuning) -> Request:
    cautions = _differences(request, tuning)
    return replace(request, method=tuning.chosen(), tuned=tuning.tuned, cautions=cautions)


def _differences(request: Request, tuning: Tuning) -> tuple[str, ...]:
    return tuple(tuning.differences(request.loading.dtype, key_part(request.sampling)))


def _guards(
    request: Request, tuning: Tuning, bound: float | None, on_average: float | None
) -> tuple[tuple[Guard, ...], tuple[str, ...]]:
    """Guards of `--guard` and `--guard-mean`, and warnings where one always keeps all tokens."""
    bounds = [(alpha, n == 1) for n, alpha in enumerate((bound, on_average)) if alpha is not None]
    # The bound was calibrated on greedy answers.
    if bounds and request.generation.temperature > 0:
        raise UsageError("--guard is for greedy answers; leave --temperature out")
    pairs = [guard_of(tuning, *each) for each in bounds]
    return tuple(guard for guard, _ in pairs), tuple(caution for _, caution in pairs if caution)


def guards_of(
    request: Request, methods: str, bound: float | None, on_average: float | None
) -> tuple[tuple[Guard, ...], tuple[str, ...]]:
    """Guards of `--guard` and `--guard-mean` for eval, and warnings about the stored tuning.

    Raises:
        UsageError: a bound out of range; or see `tuning_of`.
        ModelError: see `tuning_of`.
    """
    guarded = bound is not None or on_average is not None
    if not guarded and AUTO not in _split(methods):
        return (), ()
    tuning = _tuning(request, "--guard" if guarded else f"--methods {AUTO}")
    guards, cautions = _guards(request, tuning, bound, on_average)
    return guards, (*_differences(request, tuning), *cautions)


def rows_of(methods: str, budgets: str | None, model: str) -> list[Spec]:
    """Parse `--methods`; auto is replaced by the choice of `dycoke tune` for the model.

    Raises:
        UsageError: see `parse_specs` and `tuning_of`.
        ModelError: auto is a row, and the model isn't on this machine.
    """
    pieces = _split(methods)
    if AUTO in pieces:
        tuned = name_of(tuning_of(model).chosen())
        pieces = [tuned if piece == AUTO else piece for piece in pieces]
    return parse_specs(",".join(pieces), budgets)


def _split(methods: str) -> list[str]:
    return [piece.strip() for piece in methods.split(",")]
