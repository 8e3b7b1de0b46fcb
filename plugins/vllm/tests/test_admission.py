"""What can run in vLLM, and the one sentence about what can't; needs no vLLM."""

from __future__ import annotations

import pytest

from dycoke_cli.compression.registry import METHODS
from dycoke_cli.errors import UsageError
from dycoke_vllm.admission import Positions, admitted, kept_tokens

SERVED = {
    "none", "dycoke-plus", "uniform-frames", "uniform-spatial", "evs", "vidcom2", "v-cast", "dart",
    "maxmin", "tome", "framefusion", "llava-scissor", "sttm", "prunevid", "forestprune",
}  # fmt: skip
REFUSED = {
    "dycoke": "prunes the KV cache in decode, which paged attention can't; add kv_prune=false",
    "random": "prunes the KV cache in decode",
    "fastv": "drops tokens between the layers of the language model",
    "pyramiddrop": "drops tokens between the layers of the language model",
    "sparsevlm": "drops tokens between the layers of the language model",
    "downsample": "scales frames down before the vision tower",
    "prumerge": "needs the attention of the vision tower",
    "prumerge+": "needs the attention of the vision tower",
    "visionzip": "needs the attention of the vision tower",
    "holitom": "needs the attention of the vision tower",
    "flashvid": "needs the attention of the vision tower",
    "fastvid": "needs the attention of the vision tower",
    "cdpruner": "needs the question",
    "earlytom": "drops tokens inside the vision tower",
}
WRONG = {
    "evs:retain=2": "retain must be above 0 and at most 1, not 2",
    "evs:frobs=1": "evs has no 'frobs'",
    "evss": "did you mean evs?",
    "no-video": "not a method",
    "evs,dart": "takes one method",
    "evs:merge_stage=vision": "inside the vision tower, which is vLLM's own; drop merge_stage",
    "tome:proportional=true": "takes no weights of tokens; drop proportional",
    "uniform-spatial:frames_by=question": "attention to each frame; drop frames_by",
    "dycoke:variant=published,ttm=false,kv_prune=false,merge_ratio=7": "merge_ratio",
}


def test_every_method_is_served_or_refused_with_a_reason() -> None:
    assert SERVED | REFUSED.keys() == METHODS.keys()


@pytest.mark.parametrize("spec", [*sorted(SERVED), "ttm", "dycoke-plus", "random:retain=0.25"])
@pytest.mark.parametrize("positions", ["kept", "renumbered"])
def test_what_selects_before_the_language_model_is_served(spec: str, positions: Positions) -> None:
    method = admitted(spec, positions)
    assert kept_tokens(spec, positions, 32, 16) == method.kept_tokens(32, 16)
    assert method.renumbers() == (positions == "renumbered") or spec == "none"


@pytest.mark.parametrize(("spec", "sentence"), [*REFUSED.items(), *WRONG.items()])
def test_what_is_refused(spec: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        admitted(spec, "renumbered")
    told = str(refused.value)
    assert sentence in told
    assert told.startswith("mm_processor_kwargs.dycoke")
    assert "\n" not in told


@pytest.mark.parametrize(
    ("positions", "spec"),
    [
        ("renumbered", "evs:positions=kept"),
        ("kept", "evs:positions=renumbered"),
        ("kept", "dycoke:variant=published,kv_prune=false"),
    ],
)
def test_positions_are_those_of_the_model(positions: Positions, spec: str) -> None:
    with pytest.raises(UsageError, match=f"this model's are {positions}"):
        admitted(spec, positions)
