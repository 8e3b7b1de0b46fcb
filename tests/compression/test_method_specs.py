"""What --methods may say, and every way in which it can be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import ABLATIONS, METHODS, name_of, parse_spec, parse_specs
from dycoke_cli.errors import UsageError
from dycoke_cli.param import Param


def test_every_method_and_ablation_can_be_named() -> None:
    names = [*METHODS, *ABLATIONS]
    assert [spec.name for spec in parse_specs(", ".join(names))] == names


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (
            "none,dycoke:merge_ratio=0.5,prune_layer=9,evs:retain=0.25",
            ["none", "dycoke:merge_ratio=0.5:prune_layer=9", "evs:retain=0.25"],
        ),
        (
            "dycoke:merge-ratio=0.5 , window=8:recall = false, dycoke_once",
            ["dycoke:merge_ratio=0.5:window=8:recall=false", "dycoke-once"],
        ),
        ("evs,retain=0.25,v_cast", ["evs:retain=0.25", "v-cast"]),
        ("dycoke:K=0.6,p=0.8,L=4", ["dycoke:merge_ratio=0.6:prune_ratio=0.8:prune_layer=4"]),
    ],
)
def test_however_a_row_is_written_it_has_one_name(text: str, rows: list[str]) -> None:
    specs = parse_specs(text)
    assert [spec.text for spec in specs] == rows
    assert specs == parse_specs(",".join(rows))


def test_one_method_may_be_an_ablation() -> None:
    spec = parse_spec("dycoke_once:window=8")
    assert (spec.method, spec.given) == ("dycoke", {"recall": False, "window": 8})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dycoke,evs", r"takes one method, not dycoke,evs; `dycoke bench` and"),
        ("all", r"takes one method, not all;"),
        ("no-video", r"no-video is a row of `dycoke eval`"),
        ("dicoke", r"there is no method 'dicoke'; did you mean dycoke\?$"),
        ("mine", r"there is no method 'mine'; `dycoke methods` lists them$"),
    ],
)
def test_one_method_that_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=rf"^--method\b.*{sentence}"):
        parse_spec(text)


def test_all_is_every_method_once() -> None:
    assert [spec.text for spec in parse_specs("all")] == [*METHODS]
    assert [spec.text for spec in parse_specs("no-video, all")] == ["no-video", *METHODS]


def test_a_budget_that_was_given_stays() -> None:
    specs = parse_specs("none,evs:retain=0.1,vidcom2:positions=kept", "0.5")
    assert [spec.text for spec in specs] == [
        "none",
        "evs:retain=0.1",
        "vidcom2:positions=kept:retain=0.5",
    ]


@pytest.mark.parametrize(
    ("methods", "budgets", "sentence"),
    [
        ("evs", "half", r"--retain: retain must be a number, not 'half'"),
        ("evs", "0.5,", r"--retain: retain must be a number, not ''"),
        ("evs", "0.5,25", r"--retain: retain must be above 0 and at most 1, not 25"),
        ("evs", "0.5,0.5", r"--methods has evs:retain=0.5 twice"),
        ("all,evs", None, r"--methods has evs twice"),
        ("none,dycoke", "0.5", r"--retain is for methods that take a budget"),
    ],
)
def test_budgets_that_are_refused(methods: str, budgets: str | None, sentence: str) -> None:
    with pytest.raises(UsageError, match=rf"^{sentence}"):
        parse_specs(methods, budgets)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dicoke", r"there is no method 'dicoke'; did you mean dycoke\?$"),
        ("", r"there is no method ''; `dycoke methods` lists them$"),
        ("none,,dycoke", r"there is no method ''"),
        ("none:merge_ratio=0.3", r"none has no 'merge_ratio'; it has no parameters$"),
        ("fastv:R=0.5", r"no 'R'; it has prune_ratio \(P\), prune_layer \(L\)$"),
        ("dycoke:merge-rate=0.3", r"dycoke has no 'merge-rate'; did you mean merge_ratio\?$"),
        ("merge_ratio=0.3,dycoke", r"merge_ratio=0.3: name the method first, as in dycoke:merge_"),
        ("none,merge_ratio=0.3", r"none has no 'merge_ratio'; it has no parameters"),
        ("evs,all,retain=0.5", r"all takes no parameters"),
        ("dycoke:merge_ratio", r"write a parameter as name=value: merge_ratio="),
        ("dycoke:recall=yes", r"recall must be true or false, not 'yes'"),
        ("dycoke:window=4:window=5", r"window is already set"),
        ("ttm:kv_prune=true", r"kv_prune is already set by ttm"),
        ("dycoke:window=4,window=5", r"window is already set"),
        ("dycoke,none,dycoke", r"has dycoke twice"),
        ("no-video,no_video", r"has no-video twice"),
        ("evs:retain=0.5,positions=kept,evs:retain=0.5:positions=kept", r"positions=kept twice"),
    ],
)
def test_what_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=rf"--methods.*{sentence}"):
        parse_specs(text)


def test_a_name_keeps_the_letters_of_words() -> None:
    @dataclass(frozen=True)
    class Stretched(Method):
        name = "stretched"
        mode: Annotated[Literal["Wide", "narrow"], Param("How.")] = "narrow"
        once: Annotated[bool, Param("When.")] = False

    assert name_of(Stretched("Wide", True)) == "stretched:mode=Wide:once=true"


def test_a_method_without_a_name_is_not_the_baseline() -> None:
    class Nameless(Method):
        pass

    assert (Nameless().name, Method().name) == ("Nameless", "none")
