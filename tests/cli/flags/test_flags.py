"""Every flag does what it says: it arrives where it works."""

from __future__ import annotations

from typing import Any

import pytest

from dycoke_cli.compression.method import with_model_defaults
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.registry import create
from dycoke_cli.loop import unloaded_model
from dycoke_cli.models.catalog import ModelRef
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, run_here

# The bundled model's own layer, which the catalog has; the paper's defaults for the rest.
DEFAULTS = DyCoke(prune_layer=2, positions="kept").parameters()
STAGE_1 = {"kv_prune": False}
"""Where neither the method nor a parameter of stage 2 is named."""
GIVEN = {"merge_ratio": 0.5, "prune_layer": 5, "recall": False}


def asked(fake: Fake, *flags: str) -> dict[str, Any]:
    run = run_here("ask", CLIP, "What?", "--quiet", *flags)
    assert (run.code, run.err) == (0, "")
    return fake[-1].asked[0]


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        ([], STAGE_1),
        (["--no-ttm"], {"ttm": False}),
        (["--ttm"], {}),
        (["--kv-prune"], {}),
        (["--method", "dycoke"], {}),
        (["--method", "dycoke:window=8"], {"window": 8}),
        (["--window", "8", "--prune-ratio", "0.5"], {"window": 8, "prune_ratio": 0.5}),
        (["--merge-ratio", "0.5"], STAGE_1 | {"merge_ratio": 0.5}),
        (["--merge-ratio", "0"], STAGE_1 | {"merge_ratio": 0.0}),
        (["--window", "8"], STAGE_1 | {"window": 8}),
        (["--no-kv-prune"], {"kv_prune": False}),
        (["--prune-ratio", "0.9"], {"prune_ratio": 0.9}),
        (["--prune-layer", "5"], {"prune_layer": 5}),
        (["--no-recall"], {"recall": False}),
        (["--recall-threshold", "1"], {"recall_threshold": 1.0}),
        (["--variant", "published"], {"variant": "published", "positions": "renumbered"}),
        (["--positions", "renumbered"], STAGE_1 | {"positions": "renumbered"}),
        (["--merge-stage", "vision"], STAGE_1 | {"merge_stage": "vision"}),
        (["--merge-stage", "llm"], STAGE_1),
        (["--method", "dycoke:merge_ratio=0.5,prune_layer=5,recall=false"], GIVEN),
        (["--method", "dycoke:merge-ratio=0.5:prune-layer=5:recall=false"], GIVEN),
        (["--method", "dycoke,merge_ratio=0.5", "--prune-layer", "5", "--no-recall"], GIVEN),
        (
            ["--method", "dycoke-once:merge_ratio=0.5,prune_layer=5", "--merge-ratio", "0.50"],
            GIVEN,
        ),
    ],
)
def test_parameters_of_the_method(fake: Fake, flags: list[str], changed: dict[str, Any]) -> None:
    method = asked(fake, *flags)["method"]
    assert method.name == "dycoke"
    assert method.parameters() == DEFAULTS | changed


def test_other_methods(fake: Fake) -> None:
    assert asked(fake, "--method", "none")["method"].name == "none"
    random = asked(fake, "--method", "random", "--merge-ratio", "0.5")["method"]
    assert (random.name, random.parameters()["merge_ratio"]) == ("random", 0.5)
    assert random.parameters()["prune_layer"] == 2  # the model's own, as for dycoke
    seeded = asked(fake, "--method", "random:draw_seed=7")["method"]
    assert seeded.parameters()["draw_seed"] == 7


@pytest.mark.parametrize("name", ["evs", "vidcom2", "v-cast", "dart", "uniform-frames"])
def test_a_budget(fake: Fake, name: str) -> None:
    method = asked(fake, "--method", name, "--retain", "0.1")["method"]
    assert (method.name, method.parameters()["retain"]) == (name, 0.1)
    assert method.parameters()["positions"] == "kept"  # the model's own
    flags = ("--method", name, "--positions", "renumbered")
    assert asked(fake, *flags)["method"].parameters()["positions"] == "renumbered"


def test_fastv_has_defaults_of_its_own(fake: Fake) -> None:
    # A model's own prune layer was measured with DyCoke.
    method = with_model_defaults(create("fastv"), {"prune_layer": 5, "positions": "kept"}, 10)
    assert (method.name, method.parameters()) == ("fastv", {"prune_ratio": 0.5, "prune_layer": 2})
    flags = ["--prune-ratio", "0.625", "--prune-layer", "3"]
    method = asked(fake, "--method", "fastv", *flags)["method"]
    assert method.parameters() == {"prune_ratio": 0.625, "prune_layer": 3}


@pytest.mark.parametrize(
    ("flags", "key", "value"),
    [
        ([], "max_tokens", 128),
        (["--max-tokens", "1"], "max_tokens", 1),
        ([], "temperature", 0.0),
        (["--temperature", "0.7"], "temperature", 0.7),
        ([], "seed", None),
        (["--seed", "0"], "seed", 0),
    ],
)
def test_how_to_answer(fake: Fake, flags: list[str], key: str, value: object) -> None:
    assert asked(fake, *flags)[key] == value


@pytest.mark.parametrize(
    ("flags", "times"),
    [
        # move.mp4 has 4 s; a single frame is taken from the middle.
        (["--frames", "3"], [0.0, 2.0, 4.0]),
        (["--frames", "1"], [2.0]),
        (["--fps", "1"], [0.0, 1.0, 2.0, 3.0]),
        (["--fps", "10", "--max-frames", "3"], [0.0, 2.0, 4.0]),
        (["--frames", "2", "--start", "1"], [1.0, 4.0]),
        (["--frames", "2", "--start", "00:00:00.5", "--end", "0:01.5"], [0.5, 1.5]),
    ],
)
def test_frames_that_are_read(fake: Fake, flags: list[str], times: list[float]) -> None:
    asked(fake, *flags)
    # One frame of this clip takes an eighth of a second or less.
    assert fake[0].clip.timestamps_s == pytest.approx(times, abs=0.13)


def test_stream(fake: Fake) -> None:
    asked(fake, "--stream", "0")
    assert fake[0].clip.info.stream == 0


def test_how_the_model_is_loaded(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    def load(model: str | ModelRef, **options: Any) -> Any:
        name = model if isinstance(model, str) else model.name
        flags = {k: v for k, v in options.items() if v and k not in ("fit", "on_stage")}
        seen.append((name, flags))
        return fake.load(model)

    monkeypatch.setattr("dycoke_cli.models.load.load", load)
    monkeypatch.setattr(unloaded_model, "is_here", lambda source: True)
    asked(fake)
    asked(fake, "--model", "llava-onevision-0.5b", "--device", "cpu", "--dtype", "float32")
    monkeypatch.setenv("DYCOKE_MODEL", "llava-onevision-7b")
    asked(fake)
    asked(fake, "--device-map", "auto", "--quantize", "int4")
    asked(fake, "--random-weights", "--model", "qwen3-vl-2b", "--kernels", "stock")
    auto = {"device": "auto", "dtype": "auto", "kernels": "fast"}
    assert seen == [
        ("mini", auto),
        ("llava-onevision-0.5b", auto | {"device": "cpu", "dtype": "float32"}),
        ("llava-onevision-7b", auto),
        ("llava-onevision-7b", auto | {"device_map": "auto", "quantize": "int4"}),
        ("qwen3-vl-2b", auto | {"random_weights": True, "kernels": "stock"}),
    ]


def test_what_a_session_keeps(fake: Fake) -> None:
    asked(fake)
    asked(fake, "-q", "And then?", "--cache")
    assert [session.reuse for session in fake] == [False, True]
    assert [type(session.cache).__name__ for session in fake] == ["NoneType", "VisualCache"]
