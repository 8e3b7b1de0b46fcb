"""Each parameter with values that it can't have: refused by the name of its flag, with its range.

The rows are the dataclasses' own parameters, so that a new one, or one of a new method, is here at
once. What two parameters say of each other is in `test_usage.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from dycoke_cli.cli.flags.param_flags import _SHARED, FLAGGED, flags
from dycoke_cli.compression.registry import METHODS, parse_spec
from dycoke_cli.errors import UsageError
from dycoke_cli.param import Parameter, parameters_of
from tests.cli.fake_engine import FakeSession
from tests.cli.harness import CLIP, run_here
from tests.documents import valid


def beyond(parameter: Parameter) -> Iterator[tuple[str, str]]:
    """Texts that it can't be, and what is said of each behind its name."""
    spec, whole = parameter.spec, parameter.kind is int
    if parameter.choices:
        yield "nonsense", "'nonsense'"
    elif parameter.kind in (int, float):
        yield "much", "must be a whole number" if whole else "must be a number"
        step = 1 if whole else 0.001
        ends = [(spec.at_least, -step), (spec.above, 0.0), (spec.to, step), (spec.below, 0.0)]
        ends += [(spec.least_layer, -1)] if spec.layer and spec.at_least is None else []
        for end, more in ends:
            if end is not None:
                text = f"{end + more:g}"
                yield text, rf"must be (.*\d.*), not {re.escape(text)}(:|;|,|$)"
        if not whole:
            yield from ((text, f"must be .*, not {text}") for text in ("nan", "inf"))


def test_every_flag_names_its_range(fake: list[FakeSession]) -> None:
    of_methods = {name: next(iter(each.values())) for name, each in FLAGGED.items()}
    cases = 0
    for parameter in (of_methods | _SHARED).values():
        if parameter.kind is bool or parameter.spec.read is not None:
            continue  # it has no range, or a notation of its own
        flag = flags(parameter)[0]
        method = ("--method", "evs") if flag == "--retain" else ()
        for text, said in beyond(parameter):
            run = run_here("ask", CLIP, "What?", *method, f"{flag}={text}", "--json")
            error = valid(run.objects[0], "answer", "error")["error"]
            assert (run.code, error["code"]) == (2, "usage"), (flag, text)
            assert re.match(rf"{flag}\b.*{said}", error["message"]), (flag, text, error)
            cases += 1
    assert cases > 60
    assert fake == []


def test_every_parameter_of_every_method_names_its_range() -> None:
    for name, method in METHODS.items():
        for key, parameter in parameters_of(method).items():
            for text, said in beyond(parameter):
                with pytest.raises(UsageError, match=rf"{key} .*{said}"):
                    parse_spec(f"{name}:{key}={text}").create()
