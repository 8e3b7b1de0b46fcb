"""Merging before vision against a tower that is written out, a frame and a patch at a time."""

from __future__ import annotations

import threading
from itertools import product

import pytest
import torch

from dycoke_cli import DyCoke, VideoSession
from dycoke_cli.engine import chunks, tower, vision
from dycoke_cli.engine.tower import LAYERS_BEFORE
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import family_of
from dycoke_cli.models.families.layout import normalised
from dycoke_cli.models.prompts.stock_prompt import make_prompt
from dycoke_cli.stock.private_api import attention_implementation
from tests.covering import covered
from tests.exactness import assert_same
from tests.families.stock import clip
from tests.families.test_together import loaded_of
from tests.families.tiny import make
from tests.natural import Pictures, pan

WINDOW, GRID = 4, 2
MERGING = DyCoke(merge_ratio=0.5, kv_prune=False, merge_stage="vision", positions="kept")


def reference_of(frame: int) -> int | None:
    place = frame % WINDOW
    return None if place == 0 else frame - 1 if place % 2 else frame - place


def by_hand(model, pixels: torch.Tensor, merge_ratio: float, before: int):
    """Rows [F * N, D] of a clip, and the tokens kept: for each frame a list of positions."""
    tower = model.model.vision_tower
    hidden = list(tower.embeddings(pixels))
    side = int(len(hidden[0]) ** 0.5)
    kept: list[list[int]] = []
    patches: list[list[int]] = []
    for number, layer in enumerate(tower.encoder.layers):
        if number == before:
            for f, frame in enumerate(hidden):
                other = reference_of(f)
                tokens = [_pooled(frame, side, n) for n in range(GRID**2)]
                if other is None:
                    kept.append(list(range(GRID**2)))
                else:
                    like = [
                        round(float(torch.cosine_similarity(a, b, dim=0)), 6)
                        for a, b in zip(
                            tokens,
                            (_pooled(hidden[other], side, n) for n in range(GRID**2)),
                            strict=True,
                        )
                    ]
                    count = int((1 - merge_ratio) * GRID**2 + 1e-9)
                    order = sorted(range(GRID**2), key=lambda n: (like[n], n))
                    kept.append(sorted(order[:count]))
                patches.append(sorted(p for n in kept[-1] for p in _block(n, side)))
        hidden = _layer(layer, hidden, patches)
    stock = tower(pixels, output_hidden_states=True).hidden_states[-1]
    rows = torch.stack(hidden)
    plain = tower.encoder(tower.embeddings(pixels)).last_hidden_state
    if not torch.allclose(stock, plain, atol=1e-5):
        rows = tower.post_layernorm(rows)
    projected = model.model.multi_modal_projector(rows)
    found = [_pooled(frame, side, n) for frame in projected for n in range(GRID**2)]
    return torch.stack(found), kept


def _layer(layer, hidden: list[torch.Tensor], patches: list[list[int]]) -> list[torch.Tensor]:
    """The layer with the patches that run; the rest of a frame is the frame it is compared with."""
    attention, heads = layer.self_attn, layer.self_attn.num_heads
    found, keys, values = [], [], []
    for f, frame in enumerate(hidden):
        other = reference_of(f) if patches else None
        runs = patches[f] if patches else list(range(len(frame)))
        normed = layer.layer_norm1(frame[runs])
        key = (frame * 0 if other is None else keys[other]).clone()
        value = (frame * 0 if other is None else values[other]).clone()
        key[runs], value[runs] = attention.k_proj(normed), attention.v_proj(normed)
        keys.append(key)
        values.append(value)
        query = attention.q_proj(normed)
        read = []
        for q, k, v in zip(*(x.chunk(heads, dim=-1) for x in (query, key, value)), strict=True):
            read.append(((q @ k.T) * attention.head_dim**-0.5).softmax(-1) @ v)
        own = frame[runs] + attention.out_proj(torch.cat(read, -1))
        own = own + layer.mlp(layer.layer_norm2(own))
        whole = (frame * 0 if other is None else found[other]).clone()
        whole[runs] = own
        found.append(whole)
    return found


def _block(token: int, side: int) -> list[int]:
    """The four patches of a token: pooling halves both sides."""
    row, column = divmod(token, GRID)
    return [(2 * row + i) * side + 2 * column + j for i in (0, 1) for j in (0, 1)]


def _pooled(frame: torch.Tensor, side: int, token: int) -> torch.Tensor:
    return frame[_block(token, side)].mean(0)


@pytest.mark.parametrize(
    ("frames", "before", "numbers"),  # that are encoded at a time: a window's, or all
    covered(product((1, 3, 4, 7, 9), (0, 1), (1, 10**9)), together=2),
)
@torch.inference_mode()
def test_rows_and_choice_are_those_written_out(frames, before, numbers, monkeypatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_NUMBERS_CPU", numbers)
    monkeypatch.setattr(tower, "LAYERS_BEFORE", before)
    model, processor = make("llava_onevision")
    known = family_of(model.config)
    prompt = make_prompt(processor, known, model.config, Pictures.of(pan(frames)))
    pixels = prompt.inputs[known.pixels.key]
    floats = normalised(pixels, processor.video_processor, known.pixels)[0]
    expected, kept = by_hand(model, floats, MERGING.merge_ratio, before)
    encoded = vision.encode_video(model, known, prompt, None, MERGING.before_vision())
    flat = [f * GRID**2 + n for f, positions in enumerate(kept) for n in positions]
    assert encoded.kept.tolist() == flat
    assert len(flat) == MERGING.kept_tokens(frames, GRID**2)
    assert_same(encoded.embeddings[: len(expected)], expected)
    assert attention_implementation(model.model.vision_tower) == "sdpa"


def test_the_language_model_reads_what_was_chosen_in_the_tower() -> None:
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, Pictures.of(pan(9)))
    answer = session.ask("what happens", MERGING, max_new_tokens=4).to_dict()
    assert answer["tokens"]["visual_kept"] == MERGING.kept_tokens(9, GRID**2)
    assert answer["method"]["merge_stage"] == "vision"
    both = DyCoke(prune_layer=2, merge_stage="vision", positions="kept")
    assert session.ask("what happens", both, max_new_tokens=4).to_dict()["decode"]["steps"] == 3


def test_the_tower_runs_less() -> None:
    """Rows of the layers behind the choice, counted."""
    model, processor = make("llava_onevision")
    layers = model.model.vision_tower.encoder.layers
    rows = []
    hook = layers[-1].mlp.register_forward_hook(
        lambda module, args, output: rows.append(args[0].shape[:-1].numel())
    )
    known = family_of(model.config)
    prompt = make_prompt(processor, known, model.config, Pictures.of(pan(8)))
    vision.encode_video(model, known, prompt, None, MERGING.before_vision())
    hook.remove()
    # Of 4 tokens a compared frame keeps 2, four patches each; every fourth frame is whole.
    assert sum(rows) == 2 * (16 + 3 * 2 * 4)
    assert LAYERS_BEFORE < 27


def test_other_threads_see_whole_frames() -> None:
    model, processor = make("llava_onevision")
    known = family_of(model.config)
    prompt = make_prompt(processor, known, model.config, clip(4))
    whole = vision.encode_video(model, known, prompt).embeddings
    found = []
    with tower.MergedVision(model, known.tower, MERGING.before_vision()):
        other = threading.Thread(
            target=lambda: found.append(vision.encode_video(model, known, prompt).embeddings)
        )
        other.start()
        other.join()
    assert_same(found[0], whole)


def test_what_it_is_not_for_is_refused() -> None:
    with pytest.raises(UsageError, match="VideoSession"), MERGING(make("llava_onevision")[0]):
        pass
    with pytest.raises(UsageError, match="paper variant"):
        DyCoke(variant="published", merge_stage="vision")
