"""Variants of coverage against coverage, and against every possible choice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.coverage_leads import LEADS, Lead, _alike, _most_covering
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.compression.methods.flashvid import FlashVID
from dycoke_cli.compression.selection import SelectionInputs


def given(frames: int = 20, per_frame: int = 16) -> SelectionInputs:
    torch.manual_seed(0)
    walk = 0.3 * torch.randn(frames, per_frame, 24).cumsum(0)
    return SelectionInputs(torch.randn(1, per_frame, 24) + walk, torch.rand(frames, per_frame))


@pytest.mark.parametrize("retain", [0.25, 0.1])
def test_as_it_is_it_is_coverage(retain: float) -> None:
    ours, lead = (one(retain=retain).choose(given()) for one in (DyCokePlus, Lead))
    assert torch.equal(lead.kept, ours.kept)
    assert lead.into is not None
    assert ours.into is not None
    assert torch.equal(lead.into, ours.into)
    torch.testing.assert_close(lead.features, ours.features)


@pytest.mark.parametrize("variant", LEADS[:-1])
def test_each_variant_changes_something_and_keeps_the_budget(variant: str) -> None:
    name, _, value = variant.partition("=")
    settings = {name: float(value) if name == "diverse" else value}
    plain, lead = (Lead(**one).choose(given()) for one in ({}, settings))
    assert len({*lead.kept.tolist()}) == 80
    assert plain.features is not None
    assert lead.features is not None
    if name == "merging":
        assert torch.equal(plain.kept, lead.kept)
        assert not torch.allclose(plain.features, lead.features)
    else:
        assert not torch.equal(plain.kept, lead.kept)


def test_attention_is_a_weight_of_what_is_covered() -> None:
    """The first token of one window: the best of all, with a sum that is written out."""
    clip = given(frames=8, per_frame=4)
    assert clip.attention is not None
    (first,) = Lead(retain=1 / 32, demand="attention").choose(clip).kept.tolist()
    units = torch.nn.functional.normalize(clip.features.flatten(0, 1), dim=-1)
    spread = torch.stack([1 - a @ b for a in units for b in units]).mean()
    best = max(
        range(32),
        key=lambda one: sum(
            float(clip.attention.flatten()[other])
            * float(((units[one] @ units[other] - 1) / spread).exp())
            * float(torch.tensor(-abs(one // 4 - other // 4) / 8).exp())
            for other in range(32)
        ),
    )
    assert first == best


def test_half_of_the_tokens_are_those_of_flashvid() -> None:
    clip = given()
    attended = FlashVID(retain=0.125, contextual=0).choose(clip).kept
    kept = Lead(retain=0.25, diverse=0.5).choose(clip).kept
    assert {*attended.tolist()} < {*kept.tolist()}


def test_coverage_goes_on_from_tokens_that_were_chosen_before() -> None:
    clip = given(frames=4, per_frame=3)
    frame = torch.arange(4).repeat_interleave(3)
    (alike,) = _alike(clip.features.flatten(0, 1), frame, [4])
    kept = _most_covering([alike], torch.ones(12), [2, 7], 3)
    best = max({*range(12)} - {2, 7}, key=lambda more: alike[[2, 7, more]].amax(0).sum())
    assert kept.tolist() == sorted([2, 7, best])


def test_keys_of_the_first_layer(tmp_path: Path) -> None:
    clip, layer = given(), "language_model.model.layers.0"
    tensors = {
        f"{layer}.input_layernorm.weight": torch.ones(24),
        f"{layer}.self_attn.k_proj.weight": torch.eye(24),
        f"{layer}.self_attn.k_proj.bias": torch.zeros(24),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    # Of the same direction as the embeddings: so the same tokens are kept.
    plain, lead = Lead().choose(clip), Lead(keys_of=str(tmp_path)).choose(clip)
    assert torch.equal(plain.kept, lead.kept)
    tensors[f"{layer}.self_attn.k_proj.weight"][12:] = 0
    save_file(tensors, tmp_path / "model.safetensors")
    assert not torch.equal(plain.kept, Lead(keys_of=str(tmp_path)).choose(clip).kept)
