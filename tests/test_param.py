"""A field tells everything of a parameter: range, words, schema, and what isn't a parameter."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal

import jsonschema
import pytest

from dycoke_cli.compression.method import Method, with_model_defaults
from dycoke_cli.compression.registry import (
    METHODS,
    create,
    method_schema,
    owners,
    places,
    restore,
    symbols,
)
from dycoke_cli.errors import UsageError
from dycoke_cli.param import Param, Parameter, parameters_of
from tests.cli.harness import run_code


@dataclass(frozen=True)
class Pretended(Method):
    """A method with a parameter of every kind."""

    name: ClassVar[str] = "pretended"

    on: Annotated[bool, Param("A switch.")] = False
    retain: Annotated[float, Param("A share.", symbol="R", above=0, to=1, switch="on")] = 0.25
    frames: Annotated[int, Param("A count.", at_least=1, to=8)] = 4
    threshold: Annotated[float, Param("A number.", above=-1)] = 0.5
    weight: Annotated[float, Param("Any number.", symbol="W")] = 1.0
    layer: Annotated[int | None, Param("A layer.", layer=True, default="the model's")] = None
    order: Annotated[Literal["rising", "falling", "none"], Param("A word.")] = "none"
    remembered: int = 0


PARAMETERS = parameters_of(Pretended)


def test_fields_with_a_param_are_parameters() -> None:
    assert [*PARAMETERS] == ["on", "retain", "frames", "threshold", "weight", "layer", "order"]
    assert PARAMETERS["on"] == Parameter("on", bool, (), False, False, Param("A switch."))
    assert PARAMETERS["order"].choices == ("rising", "falling", "none")
    assert [p.name for p in PARAMETERS.values() if p.optional] == ["layer"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("on", [True, False], {0: "on must be true or false, not 0"}),
        (
            "retain",
            [0.01, 1, 1.0],
            {
                0: "retain must be above 0 and at most 1, not 0",
                1.01: "retain must be above 0 and at most 1, not 1.01",
                70: "retain must be above 0 and at most 1, not 70: did you mean 0.7?",
                100: "retain must be above 0 and at most 1, not 100: did you mean 1?",
                101: "retain must be above 0 and at most 1, not 101",
                float("nan"): "retain must be above 0 and at most 1, not nan",
                "1": "retain must be a number, not '1'",
                None: "retain must be a number, not None",
            },
        ),
        (
            "frames",
            [1, 8],
            {
                0: "frames must be at least 1 and at most 8, not 0",
                9: "frames must be at least 1 and at most 8, not 9",
                2.0: "frames must be a whole number, not 2.0",
                True: "frames must be a whole number, not True",
                10**400: "frames has too many digits",
            },
        ),
        ("threshold", [-0.9, 7], {-1: "threshold must be above -1, not -1"}),
        ("weight", [-1e9, 0], {float("inf"): "weight must be finite, not inf"}),
        ("layer", [None, 1, 99], {0: "layer must be 1 or more, not 0"}),
        (
            "order",
            ["rising", "none"],
            {"up": "order must be rising, falling or none, not 'up'"},
        ),
    ],
)
def test_check(name: str, good: list[object], bad: dict[object, str]) -> None:
    schema = jsonschema.Draft202012Validator(PARAMETERS[name].schema())
    for value in good:
        Pretended(**{name: value})  # type: ignore[arg-type]
        assert value is None or schema.is_valid(value)
    for value, sentence in bad.items():
        with pytest.raises(UsageError) as refused:
            Pretended(**{name: value})  # type: ignore[arg-type]
        assert str(refused.value) == sentence
        # JSON has neither NaN nor infinity, and to JSON Schema 2.0 is an integer.
        odd = isinstance(value, float) and (value != value or value in (2.0, float("inf")))
        assert odd or not schema.is_valid(value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("on", "true", True),
        ("on", "false", False),
        ("retain", ".5", 0.5),
        ("frames", "7", 7),
        ("layer", "3", 3),
        ("order", "rising", "rising"),
    ],
)
def test_parse(name: str, text: str, value: object) -> None:
    parsed = PARAMETERS[name].parse(text)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("on", "1", "on must be true or false, not '1'"),
        ("retain", "half", "retain must be a number, not 'half'"),
        ("threshold", "70%", "threshold must be a number, not '70%': write 0.7"),
        ("retain", "0,7", "retain must be a number, not '0,7': write 0.7"),
        ("frames", "8s", "frames must be a whole number, not '8s'"),
        ("frames", "2.5", "frames must be a whole number, not '2.5'"),
    ],
)
def test_what_cannot_be_parsed(name: str, text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        PARAMETERS[name].parse(text)
    assert str(refused.value) == sentence


def test_range_and_default_in_words() -> None:
    assert {name: p.range for name, p in PARAMETERS.items()} == {
        "on": None,
        "retain": "above 0 and at most 1",
        "frames": "at least 1 and at most 8",
        "threshold": "above -1",
        "weight": None,
        "layer": "1 to the model's layers - 1",
        "order": None,
    }
    assert [p.default_in_words for p in PARAMETERS.values()] == [
        *("off", "0.25", "4", "0.5", "1.0", "the model's", "none")
    ]


def test_symbols_of_what_has_an_effect() -> None:
    assert symbols(Pretended(weight=2)) == ["W=2"]
    assert symbols(Pretended(on=True, retain=1 / 3)) == ["R=0.333333", "W=1"]
    assert symbols(create("dycoke", prune_layer=9)) == ["K=0.7", "P=0.7 L=9"]
    assert symbols(create("dycoke", kv_prune=False)) == ["K=0.7"]


@pytest.mark.parametrize(
    ("layers", "sentence"), [(3, "from 1 to 2 for it, which has 3 layers, not 3"), (4, None)]
)
def test_a_layer_must_be_one_of_the_models(layers: int, sentence: str | None) -> None:
    method = Pretended(layer=3)
    if sentence is None:
        assert with_model_defaults(method, {}, layers, "it") == method
        return
    with pytest.raises(UsageError, match=f"layer must be {sentence}"):
        with_model_defaults(method, {}, layers, "it")
    with pytest.raises(UsageError, match=f"layer must be {sentence}"):
        with_model_defaults(Pretended(), {"layer": 3}, layers, "it")


def test_what_a_field_may_not_be() -> None:
    @dataclass(frozen=True)
    class Untold(Method):
        some: Annotated[int | None, Param("Some.")] = None

    @dataclass(frozen=True)
    class Listed(Method):
        some: Annotated[tuple, Param("Some.")] = ()

    with pytest.raises(TypeError, match="a default of None needs"):
        parameters_of(Untold)
    with pytest.raises(TypeError, match="can't be of the type"):
        parameters_of(Listed)


def test_methods_of_the_registry_tell_all_of_their_fields() -> None:
    for method in METHODS.values():
        parameters = parameters_of(method)
        assert [*parameters] == [field.name for field in fields(method)]
        for parameter in parameters.values():
            assert parameter.spec.help.endswith(".")
            parameter.check(parameter.default)
            switch = parameters.get(parameter.spec.switch or "")
            assert parameter.spec.switch is None or switch.kind is bool or switch.optional
        assert (method.summary, method.title) != (Method.summary, Method.title) or method is Method


def test_one_name_is_one_kind_in_all_methods() -> None:
    for name, parameters in owners().items():
        assert len({p.kind for p in parameters.values()}) == 1, name


def test_where_methods_act() -> None:
    acts = {
        "none": [],
        "dycoke": ["inside the vision tower", "before the language model", "in decode"],
        "random": ["inside the vision tower", "before the language model", "in decode"],
        "evs": ["inside the vision tower", "before the language model"],
        "cdpruner": ["inside the vision tower", "before the language model"],
        "visionzip": ["before the language model"],
        "fastv": ["inside the language model"],
        "holitom": ["before the language model"],
        "earlytom": ["inside the vision tower", "before the language model"],
    }
    assert {name: places(METHODS[name]) for name in acts} == acts


def test_the_schema_takes_what_is_reported_and_nothing_else() -> None:
    schema = jsonschema.Draft202012Validator(method_schema())
    for name in METHODS:
        method = with_model_defaults(create(name), {"prune_layer": 3, "positions": "kept"})
        good = {"name": method.name, **method.parameters()}
        schema.validate(good)
        assert restore(good).parameters() == {k: v for k, v in good.items() if k != "name"}
        assert not schema.is_valid(good | {"more": 1}), name
        for key in good:
            assert not schema.is_valid({k: v for k, v in good.items() if k != key}), (name, key)
            nullable = key != "name" and parameters_of(METHODS[name])[key].optional
            assert schema.is_valid(good | {key: None}) == nullable, (name, key)


def test_importing_methods_imports_no_torch() -> None:
    code = (
        "import sys, pkgutil, importlib, dycoke_cli.compression as package\n"
        "for module in pkgutil.iter_modules(package.__path__):\n"
        "    importlib.import_module(f'dycoke_cli.compression.{module.name}')\n"
        "from dycoke_cli.compression.registry import create, method_schema\n"
        "method = create('dycoke', prune_layer=3)\n"
        "method.kept_tokens(32, 196), method.pruning(), method_schema()\n"
        "sys.exit(bool({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    run = run_code(code)
    assert run.code == 0, run.err
