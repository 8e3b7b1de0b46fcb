"""Methods by name, and specs such as `evs:retain=0.25` that name one with parameters.

What the package has is listed in `methods/__init__.py`; plug-ins are added here.
"""

from __future__ import annotations

import copyreg
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli import plugins
from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.method import Method, document_parameters
from dycoke_cli.compression.methods import CLASSES
from dycoke_cli.errors import UsageError, did_you_mean, naming
from dycoke_cli.param import Parameter, meant_by, parameters_of

if TYPE_CHECKING:
    from dycoke_cli.video.sampling import Sampling


METHODS: dict[str, type[Method]] = {
    Method.name: Method,
    **{method.name: method for method in CLASSES.values()},
}

DEFAULT = "dycoke"

ALL = "all"
"""Name of all registered methods in `--methods`."""

PLACES = {
    "inside the vision tower": ("before_vision", "merge_frames"),
    "before the language model": ("select", "choose"),
    "inside the language model": ("inside",),
    "in decode": ("pruning",),
}
"""Where a method may select tokens, and the functions of `Method` that do."""


def _unknown(name: str, known: Iterable[str]) -> str:
    """Error about an unknown method."""
    hint = plugins.hint(name, known, "`dycoke methods` lists them")
    return f"there is no method {name[:60]!r}; {hint}"


def find(name: str) -> type[Method]:
    """A method by its name, with hyphens or underscores."""
    hyphenated = name.replace("_", "-")
    if hyphenated not in METHODS:
        raise UsageError(_unknown(name, METHODS))
    return METHODS[hyphenated]


def create(name: str, **parameters: Any) -> Method:
    """Make a method from its name and parameters."""
    method = find(name)
    unknown = [parameter for parameter in parameters if parameter not in parameters_of(method)]
    if unknown:
        other = owner_near(unknown[0], name)
        hint = f"; {other} has it" if other else ""
        raise UsageError(f"method {name} has no parameter {unknown[0]}{hint}")
    return method(**parameters)


def described(method: Method) -> dict[str, Any]:
    """A method as `method` of a `dycoke.answer/1` object; `restore` is the reverse."""
    return {**identity(method), **method.parameters()}


def restore(answer: Any) -> Method:
    """The method that an answer names (`method` of a `dycoke.answer/1` object).

    Args:
        answer: may be any JSON value, such as that of a damaged file.
    """
    if not isinstance(answer, Mapping) or not isinstance(answer.get("name"), str):
        raise UsageError("a stored method isn't an object with a name")
    parameters = parameters_of(find(answer["name"]))
    return create(answer["name"], **{name: answer[name] for name in parameters if name in answer})


def name_of(method: Method) -> str:
    """A method with what isn't its default, as `--method` takes it; one name a setting."""
    default = type(method)().parameters()
    changed = {k: v for k, v in method.parameters().items() if v != default[k]}
    words = (str(v).lower() if v is None or isinstance(v, bool) else v for v in changed.values())
    return ":".join([method.name, *map("{}={}".format, changed, words)])


def identity(method: Method | type[Method]) -> dict[str, str]:
    """What an answer and its key have beside parameters: the name; of a plug-in its code, too.

    Here, so that who asks has read the plug-ins, be it a worker process.
    """
    code = plugins.version("method", method.name)
    return {"name": method.name} | ({} if code is None else {"plugin": code})


def owners() -> dict[str, dict[str, Parameter]]:
    """For each name of a parameter, the methods that have one and what it is there."""
    owners_of: dict[str, dict[str, Parameter]] = {}
    for method in METHODS.values():
        for name, parameter in parameters_of(method).items():
            owners_of.setdefault(name, {})[method.name] = parameter
    return owners_of


def owner_near(parameter: str, method: str) -> str | None:
    """The method that is proposed to somebody who gave a parameter to one that lacks it.

    Args:
        parameter: its name; None is returned if no method has it.
    """
    names = owners().get(parameter, {})
    return max(names, key=lambda name: name.startswith(method), default=None)


def places(method: type[Method]) -> list[str]:
    """Where a method selects tokens: keys of `PLACES`."""
    return [
        place
        for place, choices in PLACES.items()
        if any(getattr(method, name) is not getattr(Method, name) for name in choices)
    ]


def symbols(method: Method) -> list[str]:
    """Parameters that have a symbol and an effect, by switch: `["K=0.7", "P=0.7 L=3"]`."""
    groups: dict[str | None, list[str]] = {}
    for name, parameter in parameters_of(type(method)).items():
        spec, value = parameter.spec, getattr(method, name)
        if value is not None and spec.symbol and (not spec.switch or getattr(method, spec.switch)):
            groups.setdefault(spec.switch, []).append(f"{spec.symbol}={value:g}")
    return [" ".join(group) for group in groups.values()]


def method_schema() -> dict[str, Any]:
    """The JSON Schema of `method` in an answer: a name, and every parameter of that method."""
    return {
        "description": "Its name and every parameter.",
        "type": "object",
        "properties": {"name": {"enum": list(METHODS)}},
        "required": ["name"],
        "oneOf": [
            {
                "properties": {
                    **{key: {"const": value} for key, value in identity(method).items()},
                    **{key: p.schema() for key, p in parameters_of(method).items()},
                },
                "required": [*identity(method), *parameters_of(method)],
                "additionalProperties": False,
            }
            for name, method in METHODS.items()
        ],
    }


@dataclass(frozen=True)
class _OtherRow:
    """Name of `--methods` beside those of methods."""

    method: str  # name in the registry of methods
    summary: str  # description in a few words
    fixed: Mapping[str, Any] = field(default_factory=dict)  # parameters that the name sets
    # number of frames, overriding `--frames`; 0 for no video, None for no override
    frames: int | None = None


ABLATIONS: dict[str, _OtherRow] = {
    "no-video": _OtherRow("none", "blind: text only", frames=0),
    "one-frame": _OtherRow("none", "single frame", frames=1),
}
"""Ablations of methods, and the controls of the baseline: blind and single frame."""


def _ablations(method: type[Method]) -> dict[str, _OtherRow]:
    ablations = method.ablations.items()
    return {name: _OtherRow(method.name, one.summary, one.parameters) for name, one in ablations}


for _method in METHODS.values():
    ABLATIONS |= _ablations(_method)


def _register(name: str, method: Any) -> None:
    """Check a plug-in's method, and prepare it for `help()` and for other processes."""
    is_method = isinstance(method, type) and issubclass(method, Method)
    if not is_method or "__dataclass_fields__" not in vars(method):
        raise plugins.Unfit(
            "it isn't a dataclass that inherits Method, with @dataclass(frozen=True) above it"
        )
    if method.name != name or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise plugins.Unfit(
            "its class must have the same `name`, of lower-case letters and digits, with hyphens "
            f"between words, not {method.name!r}"
        )
    if Method.title == method.title or Method.summary == method.summary or not places(method):
        raise plugins.Unfit(
            "it needs a title, a summary, and one of select, choose, inside and pruning"
        )
    if taken := {ALL, *METHODS, *ABLATIONS} & {name, *method.ablations}:
        raise plugins.Unfit(f"there is another row {taken.pop()!r} of --methods")
    for parameter in parameters_of(method).values():
        others = owners().get(parameter.name, {}).values()
        is_taken = parameter.name in ("name", "plugin")
        if is_taken or any(other.kind is not parameter.kind for other in others):
            raise plugins.Unfit(
                f"its parameter {parameter.name} means something else in other methods"
            )
    method()
    for ablation in method.ablations.values():
        method(**ablation.parameters)
    document_parameters(method)
    copyreg.pickle(method, _pickled)
    ABLATIONS.update(_ablations(method))


def _pickled(method: Method) -> tuple[Any, ...]:
    """A plug-in's method by its name: modules of files can't be imported in another process."""
    return _unpickled, (identity(method),), method.__getstate__()


def _unpickled(sent: dict[str, str]) -> Method:
    """An instance without its fields, of the same class in this process's own plug-ins."""
    if plugins.version("method", sent["name"]) != sent["plugin"]:
        origin = sent["plugin"].rpartition(" ")[0]
        raise UsageError(
            f"the plug-in {origin} isn't here as it was where the run began: install the same "
            f"package, or put the same file at the same path and name it in {plugins.ENVIRONMENT}"
        )
    kind = METHODS[sent["name"]]
    return kind.__new__(kind)


plugins.extend("method", METHODS, _register)

_PARAMETER = re.compile(r"[\w-]+\s*=")


@dataclass(frozen=True)
class Spec:
    """Parsed entry of `--methods`, before it is settled for a model."""

    text: str  # the entry in canonical notation: spaces, hyphens and commas are normalised
    name: str  # name of a method, or in `ABLATIONS`
    method: str  # name in the registry of methods
    given: dict[str, Any]  # explicit parameters, including those that the name sets
    # number of frames, overriding `--frames`; 0 for no video, None for no override
    frames: int | None = None
    if_possible: bool = False  # whether the row is skipped if the model doesn't support the method

    @property
    def is_baseline(self) -> bool:
        """Whether this is the baseline."""
        return self.name == "none"

    @property
    def is_control(self) -> bool:
        """Whether this is a control: blind, or a single frame."""
        return self.frames is not None

    def sampled(self, sampling: Sampling) -> Sampling | None:
        """Frame sampling of the row; None for no video."""
        if self.frames is None:
            return sampling
        if self.frames == 0:
            return None
        return replace(sampling, frames=self.frames, fps=None, max_frames=None)

    def create(self) -> Method:
        """The method; parameters that depend on the model are None."""
        with naming(f"--methods {self.text}"):
            return create(self.method, **self.given)


def parse_specs(text: str, budgets: str | None = None) -> list[Spec]:
    """Parse a list such as `none,dycoke:merge_ratio=0.3,positions=kept`.

    Args:
        budgets: value of `--retain`, such as `0.5,0.25`; None keeps each method's own budget.
    """
    specs = []
    for row in _rows(text):
        if row == ALL:
            specs += [replace(_parse(name), if_possible=True) for name in METHODS]
        else:
            specs.append(_parse(row))
    if budgets is not None:
        specs = _at_budgets(specs, [value.strip() for value in budgets.split(",")])
    texts: set[str] = set()
    for spec in specs:
        if spec.text in texts:
            raise UsageError(f"--methods has {spec.text} twice")
        texts.add(spec.text)
        spec.create()  # raises for an invalid combination
    return specs


def parse_spec(text: str, flag: str = "--method") -> Spec:
    """Parse one method or ablation, such as `dycoke:merge_ratio=0.3,positions=kept`.

    Parameters are checked one by one. Their combination isn't, since other flags may change it.
    """
    if "(" in text:  # as in Python
        meant = text.replace("(", ":").rstrip(")")
        raise UsageError(f"{flag} {text}: write it without brackets, as in {meant}")
    rows = _rows(text)
    if len(rows) > 1 or rows == [ALL]:
        raise UsageError(
            f"{flag} takes one method, not {text}; `dycoke bench` and `dycoke eval` compare "
            "several (--methods)"
        )
    spec = _parse(rows[0], flag)
    if spec.is_control:
        raise UsageError(
            f"{flag}: {spec.name} is a row of `dycoke eval` and `dycoke bench` (--methods), not "
            "a method"
        )
    return spec


def _rows(text: str) -> list[str]:
    """Split a list into rows; a parameter is appended to the row before it."""
    rows: list[str] = []
    for piece in map(str.strip, text.split(",")):
        # Only a parameter has "=", so commas can separate both methods and parameters.
        if rows and _PARAMETER.match(piece):
            rows[-1] += f":{piece}"
        else:
            rows.append(piece)
    return rows


def _at_budgets(specs: list[Spec], values: list[str]) -> list[Spec]:
    """Replace each row whose method takes a budget and has none by a row per budget."""
    retain = parameters_of(Budgeted)["retain"]
    with naming("--retain"):
        for value in values:
            retain.check(retain.parse(value))
    rows: list[Spec] = []
    for spec in specs:
        if "retain" in parameters_of(METHODS[spec.method]) and "retain" not in spec.given:
            at_each = (_parse(f"{spec.text}:retain={value}") for value in values)
            rows += [replace(row, if_possible=spec.if_possible) for row in at_each]
        else:
            rows.append(spec)
    if rows == specs:
        raise UsageError(
            "--retain is for methods that take a budget: of --methods none does, or each has its "
            "own"
        )
    return rows


def _parse(text: str, flag: str = "--methods") -> Spec:
    typed_name, *pairs = (part.strip() for part in text.split(":"))
    # "dycoke_plus" is accepted, since parameters are written with underscores.
    name = typed_name.replace("_", "-")
    if _PARAMETER.match(typed_name):
        method = owner_near(re.split("[ =]", typed_name)[0], DEFAULT) or DEFAULT
        raise UsageError(f"{flag} {text}: name the method first, as in {method}:{text}")
    if name == ALL:
        raise UsageError(f"{flag} {text}: {ALL} takes no parameters; name a method")
    if name not in METHODS and name not in ABLATIONS:
        raise UsageError(f"{flag}: {_unknown(typed_name, [*METHODS, *ABLATIONS])}")
    row = ABLATIONS.get(name) or _OtherRow(name, "")
    parameters = parameters_of(METHODS[row.method])
    given, parts = dict(row.fixed), [name]
    for pair in pairs:
        typed_parameter, equals, value = (part.strip() for part in pair.partition("="))
        parameter = meant_by(typed_parameter.replace("-", "_"), METHODS[row.method])
        if not equals:
            raise UsageError(f"{flag} {text}: write a parameter as name=value: {parameter}=…")
        if parameter not in parameters:
            has = ", ".join(
                f"{one} ({p.spec.symbol})" if p.spec.symbol else one
                for one, p in parameters.items()
            )
            otherwise = f"it has {has or 'no parameters'}"
            hint = did_you_mean(parameter, parameters, otherwise)
            raise UsageError(f"{flag} {text}: {name} has no {typed_parameter!r}; {hint}")
        if parameter in given:
            raise UsageError(f"{flag} {text}: {parameter} is already set by {name}, or twice")
        with naming(f"{flag} {text}"):
            given[parameter] = parameters[parameter].parse(value)
            parameters[parameter].check(given[parameter])
        parts.append(f"{parameter}={value}")
    return Spec(":".join(parts), name, row.method, given, row.frames)
