"""What --methods may say, and every way in which it can be wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import AutoConfig

from dycoke_cli import DyCoke, FastV, RandomMerge, Uncompressed
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.eval_request import Evaluation
from dycoke_cli.evaluation.method_row import kept_rows
from dycoke_cli.evaluation.method_specs import ABLATIONS, Spec, parse_spec, parse_specs
from dycoke_cli.models.catalog import published
from dycoke_cli.models.families import family_of
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import ResolvedModel, choose
from dycoke_cli.param import parameters_of
from tests.evaluation.samples import Samples


def only(text: str) -> Spec:
    (spec,) = parse_specs(text)
    return spec


@pytest.mark.parametrize(
    ("text", "method", "frames"),
    [
        ("none", Uncompressed(), None),
        ("dycoke", DyCoke(prune_layer=9, positions="kept"), None),
        ("ttm", DyCoke(prune_layer=9, positions="kept", kv_prune=False), None),
        ("kv", DyCoke(prune_layer=9, positions="kept", ttm=False), None),
        ("dycoke-once", DyCoke(prune_layer=9, positions="kept", recall=False), None),
        ("random", RandomMerge(prune_layer=9, positions="kept"), None),
        ("fastv:prune_ratio=.625", FastV(prune_ratio=0.625), None),
        ("no-video", Uncompressed(), 0),
        ("one-frame", Uncompressed(), 1),
        (
            "dycoke:merge_ratio=0.3:window=8:recall=false:positions=renumbered:prune_layer=2",
            DyCoke(merge_ratio=0.3, window=8, recall=False, positions="renumbered", prune_layer=2),
            None,
        ),
        (
            "dycoke:variant=published",
            DyCoke(variant="published", positions="renumbered", prune_layer=9),
            None,
        ),
        (
            "dycoke:prune_from=auto",
            DyCoke(prune_from=None, prune_layer=9, positions="kept"),
            None,
        ),
    ],
)
def test_specs_on_the_bundled_model(text: str, method: object, frames: int | None) -> None:
    spec = only(text)
    assert (spec.text, spec.frames) == (text, frames)
    assert spec.for_model(choose("mini", LoadOptions(device="cpu"))) == method


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
        ("dycoke:merge_ratio=7", r"merge_ratio must be at least 0 and below 1, not 7"),
        ("dycoke,prune_layer=nine", r"prune_layer must be a whole number, not 'nine'"),
    ],
)
def test_one_method_that_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=rf"^--method\b.*{sentence}"):
        parse_spec(text)


BUDGETED = [name for name, method in METHODS.items() if "retain" in parameters_of(method)]


def test_all_is_every_method_once() -> None:
    assert [spec.text for spec in parse_specs("all")] == [*METHODS]
    assert [spec.text for spec in parse_specs("no-video, all")] == ["no-video", *METHODS]


def test_budgets_are_rows_of_the_methods_that_take_one() -> None:
    specs = parse_specs("all", "0.5, .25")
    expected = [
        text
        for name in METHODS
        for text in ([f"{name}:retain=0.5", f"{name}:retain=.25"] if name in BUDGETED else [name])
    ]
    assert [spec.text for spec in specs] == expected
    kept = [spec.create().kept_tokens(8, 100) for spec in specs if spec.method in BUDGETED]
    assert kept == [400, 200] * len(BUDGETED)


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
        ("evs", "half", r"--retain must be a number, not 'half'"),
        ("evs", "0.5,", r"--retain must be a number, not ''"),
        ("evs", "0", r"--retain must be above 0 and at most 1, not 0"),
        ("evs", "0.5,25", r"--retain must be above 0 and at most 1, not 25"),
        ("evs", "0.5,0.5", r"--methods has evs:retain=0.5 twice"),
        ("all,evs", None, r"--methods has evs twice"),
        ("none,dycoke", "0.5", r"--retain is for methods that take a b.*; add dycoke-plus"),
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
        ("none:merge_ratio=0.3", r"none has no 'merge_ratio'; `dycoke methods none` lists"),
        ("dycoke:merge-rate=0.3", r"dycoke has no 'merge-rate'; did you mean merge_ratio\?$"),
        ("merge_ratio=0.3,dycoke", r"merge_ratio=0.3: name the method first, as in dycoke:merge_"),
        ("none,merge_ratio=0.3", r"none has no 'merge_ratio'; `dycoke methods none`"),
        ("evs,all,retain=0.5", r"all takes no parameters"),
        ("dycoke:merge_ratio", r"write a parameter as name=value, not 'merge_ratio'"),
        ("dycoke:merge_ratio=much", r"merge_ratio must be a number, not 'much'"),
        ("dycoke:merge_ratio=1", r"merge_ratio must be at least 0 and below 1"),
        ("dycoke:window=2.5", r"window must be a whole number, not '2.5'"),
        ("dycoke:recall=yes", r"recall must be true or false, not 'yes'"),
        ("dycoke:prune_from=soon", r"prune_from must be a whole number or auto, not 'soon'"),
        ("dycoke:dp_cache=discard:recall=true", r"dp_cache discard leaves nothing to recall"),
        ("dycoke:positions=lost", r"positions must be kept or renumbered, not 'lost'"),
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


def test_a_layer_that_the_model_has_not() -> None:
    with pytest.raises(UsageError, match=r"prune_layer must be from 1 to 9 for mini, .* not 10"):
        only("dycoke:prune_layer=10").for_model(choose("mini", LoadOptions(device="cpu")))


def of_family(name: str) -> ResolvedModel:
    """The bundled model, as if it were of another family."""
    config = AutoConfig.for_model(**published(name).config)
    chosen = choose("mini", LoadOptions(device="cpu"))
    return replace(chosen, config=config, family=family_of(config))


def test_a_method_that_the_family_cannot_serve_is_refused_before_anything_is_asked() -> None:
    qwen = of_family("qwen2.5-vl-3b")
    sentence = (
        "--methods holitom: the method holitom needs the vision encoder's attention .*qwen2_5"
    )
    with pytest.raises(UsageError, match=sentence):
        only("holitom").for_model(qwen)
    evaluation = Evaluation(Samples(), parse_specs("none,holitom"))
    with pytest.raises(UsageError, match=sentence):
        kept_rows(evaluation, qwen)


def test_all_leaves_out_what_the_family_cannot_serve_and_says_so() -> None:
    evaluation = Evaluation(Samples(), parse_specs("all", "0.5,0.25"))
    everything, nothing = kept_rows(evaluation, choose("mini", LoadOptions(device="cpu")))
    assert nothing == []
    assert {row.spec.method for row in everything} == {*METHODS}
    rows, warnings = kept_rows(evaluation, of_family("qwen2.5-vl-3b"))
    needing = {name for name, method in METHODS.items() if "attention" in method.needs}
    needing |= {"downsample"}  # pictures, where this family has patches
    assert {row.spec.method for row in rows} == {*METHODS} - needing
    (warning,) = warnings
    left_out = warning.removeprefix("mini can't serve all methods; skipped: ").split(", ")
    assert left_out[1:3] == ["downsample:retain=0.25", "prumerge:retain=0.5"]
    assert len(left_out) == 2 * len(needing)
