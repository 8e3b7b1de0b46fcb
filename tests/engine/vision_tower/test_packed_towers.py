"""Merging before vision in towers that have all frames in one sequence, against the stock tower.

As in `test_stacked_towers.py`: the stock tower runs all patches of all frames, and in front of each
layer and behind it those that aren't run are written over with those of the frame that stands for
them. Which rows of the sequence a token has is said by transformers' own functions.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.vision_utils import get_vision_window_index

from dycoke_cli import VideoSession
from dycoke_cli.compression.registry import create
from dycoke_cli.engine import tower as towers
from dycoke_cli.engine import vision
from dycoke_cli.engine.memory import flops
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import FAMILIES, family_of
from dycoke_cli.stock.private_api import attention_implementation
from tests.engine.vision_tower.towers import MERGING, Overwritten, check_rows, encoded
from tests.exactness import assert_same, assert_same_steps, in_float64
from tests.families.sessions import (
    assert_as_alone,
    loaded_of,
    logits_of,
    positions_of,
    prompt_about,
    questions_of,
)
from tests.families.stock import QUESTION, Shorter, clip, one_of_each_kind, stock_inputs
from tests.families.tiny import MAKERS, make
from tests.natural import Pictures, pan

PACKED = [n for n in MAKERS if n in FAMILIES and FAMILIES[n].packed_tower is not None]
# With windows of patches, with DeepStack, and one whose frames aren't merged in pairs.
TOWERS = ("qwen2_5_vl", "qwen3_vl", "cosmos3_edge")


class Packed(Overwritten):
    """Of a tower whose layers have the patches of all frames."""

    def __init__(
        self, layers: Any, before: int, tokens: list[list[int]], frames: int, ratio: float
    ) -> None:
        super().__init__(tokens, ratio)
        self._frames = frames
        self.hooks = [layers[before].register_forward_pre_hook(self._choose)]
        for layer in layers[before:]:
            self.hooks.append(layer.register_forward_hook(self._behind))

    def _choose(self, module: Any, args: Any) -> Any:
        self.choose(args[0].unflatten(0, (self._frames, -1)))
        return (self._written(args[0]), *args[1:])

    def _behind(self, module: Any, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (self._written(output[0]), *output[1:])
        return self._written(output)

    def _written(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.written(hidden.unflatten(0, (self._frames, -1))).flatten(0, 1)


@lru_cache(maxsize=2)
def deeper(family: str) -> tuple[Any, Any]:
    """The tiny model with six layers in its tower, sharpened so that patches look at few others.

    In Qwen2.5-VL every third attends to whole frames, and the others within windows.
    """
    torch.manual_seed(1)
    model, processor = MAKERS[family]()
    config = copy.deepcopy(model.config)
    vision = config.vision_config
    setattr(vision, "depth" if hasattr(vision, "depth") else "num_hidden_layers", 6)
    if hasattr(vision, "fullatt_block_indexes"):
        vision.fullatt_block_indexes = [2, 5]
    if hasattr(vision, "deepstack_visual_indexes"):
        vision.deepstack_visual_indexes = [1, 3, 4]
    model = type(model)(config).eval().float()
    known = family_of(config).packed_tower
    with torch.no_grad():
        for layer in model.model.get_submodule(known.name).get_submodule(known.layers):
            for name, weights in layer.named_parameters():
                if weights.dim() == 2:
                    weights *= 12 if "attn" in name else 4
    return in_float64(model), processor


def prompt_of(family: str, frames: int) -> Any:
    """A clip that moves, higher than wide, for the deeper model."""
    model, processor = deeper(family)
    pairs = 1 if family in ("cosmos3_edge", "video_llama_3") else 2
    shown = Pictures.of(pan(pairs * frames - (pairs - 1))[:, :, :96])
    return prompt_about(model, processor, shown)


def rows_of(model: Any, inputs: dict[str, torch.Tensor], per_frame: int) -> list[list[int]]:
    """For each visual token of a frame the rows of a frame in the tower that it is made of."""
    _, height, width = inputs["video_grid_thw"][0].tolist()
    unit = height * width // per_frame
    vision = model.config.vision_config
    order = list(range(per_frame))
    if hasattr(vision, "fullatt_block_indexes"):
        grid = torch.tensor([[1, height, width]])
        size, patch = vision.spatial_merge_size, vision.patch_size
        order = get_vision_window_index(grid, size, vision.window_size, patch)[0].tolist()
        assert order != sorted(order)
    return [[order.index(n) * unit + i for i in range(unit)] for n in range(per_frame)]


HALF, NOTHING, WINDOW, ALL = 0.5, 0.99, 1, 10**9
CASES = [
    (9, 0, HALF, WINDOW),
    (9, 2, HALF, ALL),
    (6, 1, NOTHING, WINDOW),
    (9, 9, HALF, WINDOW),
    (1, 2, HALF, ALL),
]


@pytest.mark.parametrize(("family", "case"), [*product(PACKED, CASES)])
@torch.inference_mode()
def test_rows_and_choice_are_those_of_whole_frames(family, case, monkeypatch) -> None:
    frames, before, merge_ratio, numbers = case
    model, _ = deeper(family)
    prompt = prompt_of(family, frames)
    assert prompt.frames == frames
    monkeypatch.setattr(towers, "LAYERS_BEFORE", before)
    tokens = rows_of(model, prompt.inputs, prompt.tokens_per_frame)

    def make_oracle(tower: Any, layers: Any) -> Packed:
        return Packed(layers, min(before, len(layers) - 1), tokens, frames, merge_ratio)

    merging = replace(MERGING, merge_ratio=merge_ratio)
    check_rows(model, prompt, merging, numbers, make_oracle, monkeypatch)


@pytest.mark.parametrize("family", one_of_each_kind(PACKED, TOWERS))
@torch.inference_mode()
def test_with_nothing_dropped_it_is_the_stock_tower_bit_by_bit(family, monkeypatch) -> None:
    """In float32, with as many frames at a time; in other numbers sums are rounded otherwise."""
    monkeypatch.setattr(flops, "CHUNK_NUMBERS_CPU", ALL)
    model, processor = make(family, torch.float32)
    prompt = prompt_about(model, processor, clip(9))
    whole, kept = encoded(model, prompt), encoded(model, prompt, replace(MERGING, merge_ratio=0.0))
    assert kept.kept.tolist() == list(range(prompt.frames * prompt.tokens_per_frame))
    assert torch.equal(whole.embeddings, kept.embeddings)
    assert all(map(torch.equal, whole.deepstack, kept.deepstack))


@pytest.mark.parametrize("family", one_of_each_kind(PACKED, TOWERS))
def test_the_language_model_reads_what_is_kept_at_its_places(family) -> None:
    """Logits are those of stock `generate()` on a prompt of these embeddings alone."""
    loaded = loaded_of(family)
    model, processor = make(family)
    session = VideoSession(loaded, clip(9))
    shorter = Shorter(model, stock_inputs(family, processor, clip(9)), session.video.frames)
    ours = encoded(model, session.video, MERGING)
    shorter.embeds = shorter.embeds.index_copy(0, torch.tensor(shorter.visual), ours.embeddings)
    shorter.deepstack = list(ours.deepstack)
    for positions in positions_of(family):
        kept, renumbered = ours.kept.tolist(), positions == "renumbered"
        _, expected = shorter.generate_shorter(4, kept, renumbered=renumbered)
        with logits_of(model) as seen:
            answer = session.ask(QUESTION, replace(MERGING, positions=positions), max_tokens=4)
        assert answer.tokens.visual_kept == len(kept) < answer.tokens.visual
        assert_same_steps([logits[:, -1] for logits in seen], expected)


@pytest.mark.parametrize("family", one_of_each_kind(PACKED, TOWERS[:1]))
def test_a_batch_is_answered_as_each_alone(family) -> None:
    assert_as_alone(questions_of(loaded_of(family), (1, 9, 4)), MERGING, max_tokens=5)


@pytest.mark.parametrize("family", one_of_each_kind(PACKED, TOWERS[:2]))
@torch.inference_mode()
def test_later_layers_and_mergers_run_on_what_is_left(family) -> None:
    model, _ = deeper(family)
    known = family_of(model.config).packed_tower
    prompt = prompt_of(family, 8)
    tower = model.model.get_submodule(known.name)
    watched = [tower.get_submodule(known.layers)[4], tower.get_submodule(known.outputs[0])]
    rows: list[int] = []
    hooks = [
        part.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
        for part in watched
    ]
    whole = encoded(model, prompt)
    every = sum(rows)
    rows.clear()
    left = encoded(model, prompt, MERGING)
    for hook in hooks:
        hook.remove()
    # Of the patches of a token all or none.
    assert sum(rows) * len(whole.embeddings) == every * len(left.kept)


def _flash(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any,
    scaling: float, cu_seq_lens_q: Any = None, cu_seq_lens_k: Any = None, **kwargs: Any,
) -> Any:  # fmt: skip
    """What flash attention computes: of several sequences in one, each with its own keys."""
    parts = [(query, key, value)]
    if cu_seq_lens_q is not None:
        ends = [cu_seq_lens_q.diff().tolist(), *[cu_seq_lens_k.diff().tolist()] * 2]
        parts = list(
            zip(
                *(x.split(n, 2) for x, n in zip((query, key, value), ends, strict=True)),
                strict=True,
            )
        )
    found = [(q @ k.mT * scaling).softmax(-1) @ v for q, k, v in parts]
    return torch.cat(found, dim=2).transpose(1, 2), None


@pytest.mark.parametrize(("family", "implementation"), [*product(TOWERS, ("eager", "dense_flash"))])
@torch.inference_mode()
def test_any_attention_gives_the_same(family, implementation, monkeypatch) -> None:
    # Names with flash in them are taken for packages that are needed.
    monkeypatch.setattr("transformers.modeling_utils.lazy_import_flash_attention", lambda _: None)
    AttentionInterface.register("dense_flash", _flash)
    AttentionMaskInterface.register("dense_flash", ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model, _ = deeper(family)
    prompt = prompt_of(family, 9)
    expected, whole = encoded(model, prompt, MERGING), encoded(model, prompt)
    tower = model.model.get_submodule(family_of(model.config).packed_tower.name)
    tower.set_attn_implementation(implementation)
    found, found_whole = encoded(model, prompt, MERGING), encoded(model, prompt)
    tower.set_attn_implementation("sdpa")
    assert_same(found.embeddings, expected.embeddings)
    assert_same(found_whole.embeddings, whole.embeddings)


def test_a_window_that_fails_leaves_nothing_behind() -> None:
    model, _ = deeper("qwen2_5_vl")
    prompt = prompt_of("qwen2_5_vl", 4)
    whole = encoded(model, prompt).embeddings
    tower = model.model.visual

    def fail(module: Any, args: Any) -> None:
        raise MemoryError

    hook = tower.blocks[4].register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        encoded(model, prompt, MERGING)
    hook.remove()
    assert attention_implementation(tower) == "sdpa"
    assert_same(encoded(model, prompt).embeddings, whole)


def test_families_that_cannot_are_refused_before_anything_is_encoded(monkeypatch) -> None:
    can = {name for name, family in FAMILIES.items() if family.encodes_parts}
    assert FAMILIES.keys() - can == {"perception_lm", "gemma4", "gemma4_unified", "molmo2"}
    monkeypatch.setattr(vision, "at_decoder", None)
    for family in ("perception_lm", "gemma4"):
        session = VideoSession(loaded_of(family), clip(4))
        for method in (MERGING, create("evs", merge_stage="vision")):
            with pytest.raises(
                UsageError, match="--merge-stage vision isn't supported for the fam"
            ):
                session.ask(QUESTION, method, max_tokens=2)
