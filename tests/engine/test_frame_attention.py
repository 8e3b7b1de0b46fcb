"""The attention to frames by which a budget is shared: that of decoders that keep every token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from dycoke_cli import Uncompressed, UniformSpatial, VideoSession
from dycoke_cli.compression.method import SelectionInputs
from dycoke_cli.engine.state import STATE_ARGUMENT
from dycoke_cli.errors import UsageError
from dycoke_cli.stock.private_api import cache_name
from tests.engine.tiny import SHAPES, make_inputs, make_model
from tests.families.sessions import loaded_of
from tests.families.stock import MERGING_ONLY, NONE_ONLY, QUESTION, clip, one_of_each_kind
from tests.families.tiny import MAKERS

TAKEN: list[torch.Tensor] = []
"""The attention that a method was given."""


@dataclass(frozen=True)
class Noting(UniformSpatial):
    """Notes what it is given."""

    name: ClassVar[str] = "noting"

    def tokens_of_frames(self, inputs: SelectionInputs) -> list[int]:
        assert inputs.frame_attention is not None
        TAKEN.append(inputs.frame_attention)
        return super().tokens_of_frames(inputs)


METHOD = Noting(retain=0.3, frames_by="question", positions="kept")


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    TAKEN.clear()
    yield
    TAKEN.clear()


def to_frames(attention: list[torch.Tensor], visual: list[int], frames: int) -> list[float]:
    """The weights of frames, in plain numbers.

    Args:
        attention: `[H, S, S]` of each layer.
        visual: columns, frame by frame.
    """
    counted = attention[len(attention) * 2 // 3 :]
    per_frame = len(visual) // frames
    weights = [0.0] * frames
    for layer in counted:
        for head in layer:
            row = [float(head[-1, column]) for column in visual]
            for place, value in enumerate(row):
                share = value / sum(row) / per_frame / len(layer) / len(counted)
                weights[place // per_frame] += share
    return weights


@torch.no_grad()
def stock_attention(decoder: Any, kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """Of a stock decoder in eager mode, `[H, S, S]` of each layer."""
    before, mask = decoder.config._attn_implementation, kwargs.get("attention_mask")
    if torch.is_tensor(mask) and mask.dtype == torch.bool:
        none = torch.zeros_like(mask, dtype=kwargs["inputs_embeds"].dtype)
        mask = none.masked_fill(~mask, torch.finfo(none.dtype).min)
    own = {"attention_mask": mask, cache_name(kwargs): None, "use_cache": False}
    decoder.set_attn_implementation("eager")
    output = decoder(**kwargs | own, output_attentions=True)
    decoder.set_attn_implementation(before)
    return [layer[0] for layer in output.attentions]


@pytest.mark.parametrize(
    "family", one_of_each_kind(f for f in MAKERS if f not in (*MERGING_ONLY, *NONE_ONLY))
)
def test_weights_are_those_of_stock_attention(family: str) -> None:
    loaded, seen = loaded_of(family), []

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs)

    hooked = (loaded.model, loaded.model.get_decoder())
    hooks = [each.register_forward_pre_hook(note, with_kwargs=True) for each in hooked]
    VideoSession(loaded, clip(6)).ask(QUESTION, METHOD, max_tokens=2)
    for hook in hooks:
        hook.remove()
    # What the decoder reads before the selection has DeepStack, which is taken out for the method.
    read = next(number for number, each in enumerate(seen) if STATE_ARGUMENT in each)
    (found,), of_model, of_decoder = TAKEN, seen[read - 2], {**seen[read]}
    del of_decoder[STATE_ARGUMENT]
    placeholder = getattr(loaded.model.config, loaded.family.placeholder)
    columns = (of_model["input_ids"][0] == placeholder).nonzero().flatten().tolist()
    frames = len(found)
    columns = columns[: len(columns) // frames * frames]  # one more may be a newline
    attention = stock_attention(loaded.model.get_decoder(), of_decoder)
    expected = torch.tensor(to_frames(attention, columns, frames), dtype=found.dtype)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_each_question_and_each_video_has_its_own() -> None:
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, clip(6))
    for question in (QUESTION, "Why is the dog there?"):
        session.ask(question, METHOD, max_tokens=1)
    first, second = TAKEN
    assert not torch.equal(first, second)
    together = VideoSession(loaded, clip(6), others=[clip(3, seed=1)])
    answer = together.ask(QUESTION, METHOD, max_tokens=1)
    *_, of_first, of_second = TAKEN
    assert (len(of_first), len(of_second)) == (6, 3)
    # Attention to all tokens of both adds up to 1; each frame has four.
    assert float(of_first.sum() + of_second.sum()) == pytest.approx(1 / 4)
    assert answer.tokens.visual_kept == int(6 * 4 * 0.3) + int(3 * 4 * 0.3)


def test_what_is_read_before_is_counted() -> None:
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, clip(6))
    before = session.ask(QUESTION, METHOD, max_tokens=2)
    equal = session.ask(QUESTION, UniformSpatial(retain=0.3, positions="kept"), max_tokens=2)
    whole = session.ask(QUESTION, Uncompressed(), max_tokens=2)
    assert before.flops.prefill == equal.flops.prefill + whole.flops.prefill
    assert before.tokens == equal.tokens


def test_what_it_is_refused_for() -> None:
    model = make_model(SHAPES[0])
    inputs = make_inputs(SHAPES[0], 3)
    batch = {name: torch.cat([value, value]) for name, value in inputs.items()}
    with METHOD(model), pytest.raises(UsageError, match="noting takes one sequence at a time"):
        model.generate(**batch, max_new_tokens=2)
    sliding = loaded_of(MERGING_ONLY[0]).model
    with pytest.raises(UsageError, match=r"don't keep every token .* --no-kv-prune works"):
        METHOD(sliding)
