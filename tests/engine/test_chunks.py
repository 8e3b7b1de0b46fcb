"""How much goes through a layer at once, and the masks of a chunk."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention.bias import CausalBias, CausalVariant

from dycoke_cli import DyCoke, Uncompressed, VideoSession
from dycoke_cli.engine import chunked_prefill, vision
from dycoke_cli.engine.memory import flops
from dycoke_cli.kernels import attention
from dycoke_cli.kernels.attention import has_flash_attention
from dycoke_cli.kernels.replacing import use_custom_attention
from dycoke_cli.models.devices import free_memory
from dycoke_cli.stock.private_api import attention_implementation
from tests.families.sessions import Read, loaded_of, same
from tests.families.stock import QUESTION, clip

GB = 10**9


@pytest.mark.parametrize(
    ("length", "own_attention", "flash", "tokens"),
    [
        (4096, False, False, 4096),
        (4097, False, False, 1024),
        (4097, False, True, 4096),
        (1024, True, False, 1024),
        (1025, True, False, 1024),
    ],
)
def test_tokens_of_a_chunk(length: int, own_attention: bool, flash: bool, tokens: int) -> None:
    assert flops.chunk_length(length, own_attention, flash) == tokens


@pytest.mark.parametrize("method", [Uncompressed(), DyCoke(prune_layer=2, positions="kept")])
def test_prompts_are_cut_by_the_kernel_of_attention(method, monkeypatch) -> None:
    loaded = loaded_of("qwen2_5_vl")
    monkeypatch.setattr(flops, "LONGEST_WHOLE", 11)
    monkeypatch.setattr(flops, "CHUNK", 5)
    session = VideoSession(loaded, clip(9), reuse=False)
    lengths, answers = [], []
    for flash in (False, True):
        monkeypatch.setattr(chunked_prefill, "has_flash_attention", lambda *_, flash=flash: flash)
        with Read(loaded.model) as read:
            answers.append(session.ask(QUESTION, method, max_tokens=4))
        lengths.append(read.longest)
    assert lengths == [5, 11]
    assert same(*answers)


def test_attention_with_scores_in_memory_stays_in_small_chunks(monkeypatch) -> None:
    decoder = loaded_of("qwen2_5_vl").model.get_decoder()
    names = {"sdpa": True, attention.ON_GPU: True, "flash_attention_2": True, "eager": False}
    assert not chunked_prefill._is_flash(decoder)
    monkeypatch.setattr(chunked_prefill, "has_flash_attention", lambda *_: True)
    for name, is_flash in names.items():
        monkeypatch.setattr(chunked_prefill, "attention_implementation", lambda _, name=name: name)
        assert chunked_prefill._is_flash(decoder) == is_flash
        assert not chunked_prefill.has_own_attention(decoder)


@pytest.mark.parametrize(("flash", "sizes"), [(True, [4, 3]), (False, [2, 2, 2, 1])])
def test_frames_that_a_gpu_encodes_together(flash, sizes, monkeypatch) -> None:
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, clip(7), reuse=False)
    pixels = session.video.inputs["pixel_values_videos"]
    monkeypatch.setattr(flops, "FRAMES_FLASH", 4)
    monkeypatch.setattr(flops, "FRAMES_GPU", 2)
    monkeypatch.setattr(flops, "CHUNK_NUMBERS_CPU", pixels.numel() // 7)
    monkeypatch.setattr(vision, "has_flash_attention", lambda *_: flash)
    numbers = flops.chunk_numbers
    monkeypatch.setattr(vision, "chunk_numbers", lambda on_cpu, flash: numbers(False, flash))
    done: list[int] = []
    vision.encode_video(
        loaded.model, loaded.family, session.video, lambda count, _: done.append(count)
    )
    each = [count - before for count, before in zip(done, [0, *done], strict=False)]
    assert each == sizes


def test_a_chunk_has_the_mask_of_flash_attention_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query, key = (torch.zeros(1, 4, count, 16) for count in (8, 24))
    assert attention._behind_others(query, key, False).shape == (1, 1, 8, 24)
    monkeypatch.setattr(attention, "has_flash_attention", lambda device, dtype: True)
    mask = attention._behind_others(query, key, False)
    assert isinstance(mask, CausalBias)
    assert (mask.variant, mask.seq_len_q, mask.seq_len_kv) == (CausalVariant.LOWER_RIGHT, 8, 24)
    assert attention.last_queries(10**5, 10**6).numel() < 10  # nothing of `[N, S]` is allocated
    assert attention._behind_others(query, key, True).shape == (1, 1, 8, 24)


@pytest.mark.parametrize(
    ("device", "dtype", "capability", "hip", "has"),
    [
        ("cuda:0", torch.bfloat16, (8, 0), None, True),
        ("cuda:0", torch.float16, (9, 0), None, True),
        ("cuda:0", torch.float32, (9, 0), None, False),
        ("cuda:0", torch.float16, (7, 5), None, False),  # T4
        ("cuda:0", torch.bfloat16, (9, 4), "6.4", False),  # MI300
        ("cpu", torch.bfloat16, (8, 0), None, False),
    ],
)
def test_which_devices_have_flash_attention(
    device: str, dtype: torch.dtype, capability: Any, hip: Any, has: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_flash_attention(torch.device(device), dtype) == has


def test_a_model_on_a_gpu_has_masks_only_where_there_is_padding(monkeypatch) -> None:
    loaded = loaded_of("qwen2_5_vl")
    session = VideoSession(loaded, clip(9), reuse=False)
    monkeypatch.setattr(flops, "LONGEST_WHOLE", 4)
    monkeypatch.setattr(flops, "CHUNK", 5)
    expected = session.ask(QUESTION, Uncompressed(), max_tokens=4)
    masks: list[Any] = []
    stock = attention.sdpa_attention_forward

    def noting(module: Any, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any) -> Any:
        if query.shape[2] > 1 and getattr(module, "is_causal", True):
            masks.append(mask)
        return stock(module, query, key, value, mask, **kwargs)

    monkeypatch.setattr(attention, "sdpa_attention_forward", noting)

    def lower_right(query: torch.Tensor, key: torch.Tensor, _: bool) -> CausalBias:
        return attention.last_queries(query.shape[2], key.shape[2])

    monkeypatch.setattr(attention, "_behind_others", lower_right)
    model = loaded.model
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "device", property(lambda self: torch.device("cuda:0")))
        assert use_custom_attention(model)
    try:
        assert attention_implementation(model.get_decoder()) == attention.ON_GPU
        assert same(session.ask(QUESTION, Uncompressed(), max_tokens=4), expected)
    finally:
        model.set_attn_implementation("sdpa")
    assert masks[0] is None
    assert masks[-1] is not None
    assert all(mask is None or isinstance(mask, CausalBias) for mask in masks)


def test_what_torch_holds_unused_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * GB, 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 7 * GB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 5 * GB)
    assert free_memory(torch.device("cuda:0")) == 5 * GB
