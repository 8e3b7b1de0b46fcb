"""The rows of a table: entries of --methods on a model, and those that it can't serve."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import AutoConfig

from dycoke_cli import DyCoke, FastV, RandomMerge, Uncompressed
from dycoke_cli.compression.registry import METHODS, Spec, parse_specs
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.eval_request import Evaluation
from dycoke_cli.evaluation.method_row import kept_rows, method_on
from dycoke_cli.models.catalog import published
from dycoke_cli.models.families import ModelInfo
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import ResolvedModel, resolve_model
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
    ],
)
def test_specs_on_the_bundled_model(text: str, method: object, frames: int | None) -> None:
    spec = only(text)
    assert (spec.text, spec.frames) == (text, frames)
    assert method_on(resolve_model("mini", LoadOptions(device="cpu")), spec) == method


def of_family(name: str) -> ResolvedModel:
    """The bundled model, as if it were of another family."""
    config = AutoConfig.for_model(**published(name).config)
    chosen = resolve_model("mini", LoadOptions(device="cpu"))
    return replace(chosen, config=config, info=ModelInfo.of(config))


def test_a_method_that_the_family_cannot_serve_is_refused_before_anything_is_asked() -> None:
    qwen = of_family("qwen2.5-vl-3b")
    sentence = (
        "--methods holitom: the method holitom needs the vision encoder's attention .*qwen2_5"
    )
    with pytest.raises(UsageError, match=sentence):
        method_on(qwen, only("holitom"))
    evaluation = Evaluation(Samples(), parse_specs("none,holitom"))
    with pytest.raises(UsageError, match=sentence):
        kept_rows(evaluation, qwen)


def test_all_leaves_out_what_the_family_cannot_serve_and_says_so() -> None:
    evaluation = Evaluation(Samples(), parse_specs("all", "0.5,0.25"))
    everything, nothing = kept_rows(evaluation, resolve_model("mini", LoadOptions(device="cpu")))
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
