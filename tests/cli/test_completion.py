"""Completion, ranges and flags of the sandbox."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from dycoke_cli.cli.flags.param_flags import _SHARED, FLAGGED, flags
from dycoke_cli.compression.registry import METHODS, parse_spec
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.datasets import DATASETS
from dycoke_cli.models.catalog import CATALOG
from dycoke_cli.param import Parameter, parameters_of
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, HEAVY, run_completing, run_here
from tests.documents import valid


def test_models_methods_and_benchmarks_are_offered() -> None:
    models = [name for name in CATALOG if name.startswith("qwen2.5")]
    assert models
    offered = {
        "ask clip.mp4 --model qwen2.5": models,
        "clip.mp4 --model qwen2.5": models,
        "models pull qwen2.5": models,
        "ask clip.mp4 --method dyc": ["dycoke", "dycoke-plus"],
        "methods fas": ["fastv", "fastvid"],
        "models pu": ["pull"],
        "eval shapes --methods none,dycoke-o": ["none,dycoke-once"],
        "eval ": [*DATASETS],
        "eval videomme --preset table-1-7": ["table-1-7b", "table-1-72b"],
        "ask clip.mp4 --method nothing-like-it": [],
    }
    runs = run_completing(*(f"dycoke {line}" for line in offered), before=[["ask", "--help"]])
    for line, (run, modules) in zip(offered, runs, strict=True):
        assert (run.code, run.err, run.out.split()) == (0, "", offered[line]), line
        assert modules.isdisjoint(HEAVY), line


def beyond(parameter: Parameter) -> Iterator[tuple[str, str]]:
    """Texts that it can't be, and what is said of each behind its name."""
    spec, whole = parameter.spec, parameter.kind is int
    if parameter.choices:
        yield "nonsense", "'nonsense'"
    elif parameter.kind in (int, float):
        yield "much", "must be a whole number" if whole else "must be a number"
        step = 1 if whole else 0.001
        ends = [(spec.at_least, -step), (spec.above, 0.0), (spec.to, step), (spec.below, 0.0)]
        ends += [(spec.bounds["at_least"], -1)] if spec.layer and spec.at_least is None else []
        for end, more in ends:
            if end is not None:
                text = f"{end + more:g}"
                yield text, rf"must be (.*\d.*), not {re.escape(text)}(:|;|,|$)"
        if not whole:
            yield from ((text, f"must be .*, not {text}") for text in ("nan", "inf"))


def test_every_flag_names_its_range(fake: Fake) -> None:
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
    assert cases > 50
    assert fake == []


def test_every_parameter_of_every_method_names_its_range() -> None:
    for name, method in METHODS.items():
        for key, parameter in parameters_of(method).items():
            for text, said in beyond(parameter):
                with pytest.raises(UsageError, match=rf"{key} .*{said}"):
                    parse_spec(f"{name}:{key}={text}").create()


MOVE = "sample_videos/move.mp4"


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", MOVE, "What?"),
        ("ask", MOVE, "What?", "--server", "http://127.0.0.1:9/v1"),
        ("batch", MOVE, "What?"),
        ("chat", MOVE),
        ("inspect", MOVE, "What?", "--json"),
        ("eval", "shapes", "--limit", "1"),
        ("bench", MOVE),
        ("watch", MOVE, "What?"),
        ("serve", "--port", "0"),
        ("mcp", "sample_videos"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("means", [(), ("landlock",)])
def test_nothing_runs_without_the_sandbox(
    arguments: tuple[str, ...], means: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dycoke_cli.video.decoder.sandbox", lambda: means)
    run = run_here(*arguments, "--require-sandbox")
    assert (run.code, run.err.count("\n")) == (2, 1)
    assert "--require-sandbox: the process that reads videos isn't sandboxed here" in run.err
