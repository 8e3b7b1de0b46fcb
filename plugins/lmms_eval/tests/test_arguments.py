"""`--model_args` mean what the flags of the same names mean; lmms-eval isn't needed for that."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from dycoke_cli.compression.pool import TokenBudget
from dycoke_cli.compression.registry import METHODS, owners
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.models.load_options import ENVIRONMENT, LoadOptions
from dycoke_cli.param import parameters_of
from dycoke_cli.video.sampling import Sampling
from dycoke_lmms_eval.arguments import NAMES, in_arguments, parse, split


def test_model_method_frames_loading_and_generation() -> None:
    found = parse(
        split(
            "model=llava-onevision-7b,method=dycoke,merge_ratio=0.5,prune_layer=5,ttm=true,"
            "frames=64,dtype=bfloat16,device=cpu,kernels=stock,max_tokens=16,seed=7"
        )
    )
    assert found.model == "llava-onevision-7b"
    assert found.loading == LoadOptions(device="cpu", dtype="bfloat16", kernels="stock")
    assert found.sampling == Sampling(frames=64)
    assert found.generation == GenerationOptions(max_tokens=16, seed=7)
    assert found.spec.create() == METHODS["dycoke"](merge_ratio=0.5, prune_layer=5, ttm=True)


def test_a_budget_of_tokens() -> None:
    assert parse(split("video_tokens=448,fps=1")).budget == TokenBudget(448)
    assert parse({}).budget == TokenBudget()
    with pytest.raises(UsageError, match="video_tokens must be 1 or more, not 0"):
        parse(split("video_tokens=0"))


def test_without_any_it_is_what_the_commands_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = parse(split(""))
    assert (found.model, found.loading, found.sampling) == ("mini", LoadOptions(), Sampling())
    assert found.generation == GenerationOptions()
    assert found.spec.create() == METHODS["dycoke"]()
    monkeypatch.setenv(ENVIRONMENT, "my-model")
    assert parse({}).model == "my-model"


def test_a_row_of_eval_is_a_method() -> None:
    row = parse(split("method=dycoke:merge_ratio=0.3,prune_layer=4")).spec
    assert row.create() == METHODS["dycoke"](merge_ratio=0.3, prune_layer=4)
    assert parse(split("method=no-video")).spec.sampled(Sampling()) is None
    one = parse(split("method=one-frame,frames=8"))
    assert one.spec.sampled(one.sampling) == Sampling(frames=1)


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_of_every_method(method: str) -> None:
    """As text, and as Python's own value; both are what the dataclass takes."""
    kind = METHODS[method]
    for name, parameter in parameters_of(kind).items():
        value = parameter.default
        if value is None or parameter.spec.switch is not None:
            continue
        written = str(value).lower() if parameter.kind is bool else str(value)
        for given in (written, value):
            spec = parse({"method": method, name: given}).spec
            assert spec.given == {name: value}
            assert spec.create() == kind(**{name: value})


def test_every_flag_of_loading_sampling_and_generation_is_an_argument() -> None:
    groups = (LoadOptions, TokenBudget, GenerationOptions)
    shared = {name for kind in groups for name in parameters_of(kind)}
    shared |= {*parameters_of(Sampling)} - {"start_s", "end_s"}
    assert {*NAMES} == {"model", "method", *shared, *owners()}
    assert len(NAMES) == len(set(NAMES))  # or one would hide another
    assert {field.name for field in fields(LoadOptions)} - {*NAMES} == {"revision"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model=a=b,frames=4", {"model": "a=b", "frames": "4"}),
        (" model=0012 , method=none ", {"model": "0012", "method": "none"}),  # no number
        ("", {}),
    ],
)
def test_arguments_stay_as_they_were_written(text: str, found: dict[str, str]) -> None:
    assert split(text) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("frames", "write an argument as name=value, not 'frames'"),
        ("frames=4,frames=5", "--model_args has frames twice"),
        ("frame=4", "there is no 'frame' (there are model, method, device,"),
        ("frame=4", "did you mean frames?"),
        ("pretrained=my-org/my-model", "did you mean model?"),
        ("start_s=4", "there is no 'start_s'"),
        ("frames=many", "frames must be a whole number, not 'many'"),
        ("frames=0", "frames must be 1 or more, not 0"),
        ("frames=8,fps=2", "frames and fps exclude each other"),
        ("dtype=bf16", "dtype must be auto, float32, bfloat16 or float16, not 'bf16'"),
        ("method=dycok", "method: there is no method 'dycok'"),
        ("method=dycok", "did you mean dycoke?"),
        ("method=all", "method names one method, not 'all'"),
        ("method=none,merge_ratio=0.5", "none has no 'merge_ratio'"),
        ("merge_ratio=7", "merge_ratio must be at least 0 and"),
        ("method=dycoke:merge_ratio=0.1,merge_ratio=0.2", "merge_ratio is already set by"),
        ("temperature=-1", "temperature must be 0 or more, not -1"),
        ("device_map=auto,device=cpu", "drop device=cpu"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(split(text))
    assert sentence in str(refused.value)
    assert "--methods" not in str(refused.value)


@pytest.mark.parametrize("given", [{"frames": 2.5}, {"merge_ratio": float("nan")}, {"ttm": 3}])
def test_values_from_python_are_checked_as_well(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        parse(given)


def test_sentences_about_flags_are_about_arguments() -> None:
    assert in_arguments("use fewer --frames or a larger --merge-ratio; --no-ttm --follow-up") == (
        "use fewer frames or a larger merge_ratio; ttm=false --follow-up"
    )
