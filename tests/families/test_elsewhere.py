"""On another device than the CPU: the same answers, and nothing is forgotten on the wrong one.

The devices are one that every machine has (`tests.elsewhere`), whose numbers are the CPU's own, and
CUDA, which adds up in other orders.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from dycoke_cli import FastV, PyramidDrop, Uncompressed, VideoSession
from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.engine.settling import settled
from dycoke_cli.errors import ModelError
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.resolve import check_family_packages
from tests.cuda import NEEDS_CUDA
from tests.elsewhere import Elsewhere, moved, second_device
from tests.families.sessions import QUESTIONS, loaded_of, logits_of, method_of, runs
from tests.families.stock import BOTH_WAYS, clip
from tests.families.tiny import MAKERS

FRAMES = (1, 5)
NEW_TOKENS = 4
# Positions that count tokens, with a run of placeholders and with a run a frame; in four dimensions
# with DeepStack; frames that see each other both ways.
KINDS = ("llava_onevision", "internvl", "qwen3_vl", *BOTH_WAYS)
# Float32 logits of these models, of about 0.4, are up to 5e-6 from those of float64 (whose sums are
# exact beside them), and up to 5e-5 from themselves where each linear layer is off by 8 roundings.
# TF32, with 13 bits less, is off by a hundred times more.
TOLERANCE = 5e-5


def methods_of(family: str) -> dict[str, Method]:
    """By name; the choices change at each step, so that all that can come back does."""
    if "kv" not in runs(family):
        return {"ttm": method_of("ttm", "kept")} if runs(family) else {"none": Uncompressed()}
    restless = replace(method_of("dycoke", "kept"), recall_threshold=1.0)
    found: dict[str, Method] = {"dycoke": restless}
    if family not in BOTH_WAYS:
        found["fastv"] = FastV(prune_ratio=0.5, prune_layer=1)
        found["pyramiddrop"] = PyramidDrop(stage_layers=1)
    if family in FAMILIES and FAMILIES[family].encodes_parts:
        found["vision"] = replace(restless, merge_stage="vision")
    if family == "llava_onevision":
        merging = [name for name, method in METHODS.items() if method.needs]
        found |= {name: create(name, retain=0.4, positions="kept") for name in merging}
    return found


def cells() -> list[tuple[str, str]]:
    """One family of each kind of positions and masks with all methods, the others with the one that
    begins in their vision encoder, or with their first; the tensors of the rest of their methods
    are made at the same places.
    """
    methods = {family: [*methods_of(family)] for family in MAKERS}
    return [
        (family, name)
        for family, names in methods.items()
        for name in names
        if family in KINDS or name == ("vision" if "vision" in names else names[0])
    ]


@dataclass
class Told:
    """What a model answered."""

    exact: list[Any] = field(default_factory=list)  # texts, counts, and which tokens came and went
    # the logits of each token, and the attention that a trace has
    rounded: list[torch.Tensor] = field(default_factory=list)


def told(loaded: LoadedModel, method: Method) -> Told:
    """Two questions about two videos together, and one more about one of them."""
    sessions = [VideoSession(loaded, clip(f, seed)) for seed, f in enumerate(FRAMES)]
    told = Told()
    answers = []
    pruning = method.pruning()
    traced = pruning.layer - 1 if pruning is not None and pruning.selector else None
    with logits_of(loaded.model) as logits:
        if not settled(method, loaded.info).inside():
            questions = [Question(s, q) for s, q in zip(sessions, QUESTIONS, strict=False)]
            answers += ask_together(questions, method, GenerationOptions(max_tokens=NEW_TOKENS))
        more = QUESTIONS[2:] if answers else QUESTIONS[:2]
        for question in more:
            answers.append(sessions[1].ask(question, method, max_tokens=NEW_TOKENS, trace=traced))
    told.rounded += [each[:, -1].cpu() for each in logits]
    assert len(told.rounded) == 2 * NEW_TOKENS
    for answer in answers:
        told.exact.append((answer.answer, answer.tokens, answer.decode))
        for step in answer.trace.steps if answer.trace else ():
            told.exact.append(
                (step.text, step.active, step.evicted, step.recalled, step.reselected)
            )
            told.rounded.append(torch.tensor(step.attention))
    return told


@contextmanager
def on_second_device(loaded: LoadedModel) -> Iterator[LoadedModel]:
    there = replace(loaded, model=copy.deepcopy(loaded.model))
    with second_device():
        moved(there.model)
        yield there
    assert all(isinstance(weight, Elsewhere) for weight in there.model.parameters())


@contextmanager
def on_cuda(loaded: LoadedModel) -> Iterator[LoadedModel]:
    there = replace(loaded, model=copy.deepcopy(loaded.model).cuda())
    products = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield there
    finally:
        torch.backends.cuda.matmul.allow_tf32 = products
    assert all(weight.is_cuda for weight in there.model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("on", "family", "name"),
    [
        *(
            pytest.param(on_second_device, *case, id="-".join(("elsewhere", *case)))
            for case in cells()
        ),
        *(
            pytest.param(on_cuda, f, n, id=f"cuda-{f}-{n}", marks=NEEDS_CUDA)
            for f in MAKERS
            for n in methods_of(f)
        ),
    ],
)
def test_answers_are_those_of_the_cpu(
    on: Callable[[LoadedModel], AbstractContextManager[LoadedModel]], family: str, name: str
) -> None:
    try:
        check_family_packages(family, family)
    except ModelError as missing:
        pytest.skip(str(missing))
    loaded, method = loaded_of(family), methods_of(family)[name]
    here = told(loaded, method)
    with on(loaded) as elsewhere:
        there = told(elsewhere, method)
    assert there.exact == here.exact
    for theirs, ours in zip(there.rounded, here.rounded, strict=True):
        torch.testing.assert_close(theirs, ours, atol=TOLERANCE, rtol=0)
