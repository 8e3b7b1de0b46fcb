"""How much goes through a layer at once on a GPU: by hand, and of prompts that are read."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch.nn.attention.bias import CausalBias, CausalVariant

from dycoke_cli import DyCoke, Uncompressed, VideoSession
from dycoke_cli.compression.method import BASELINE
from dycoke_cli.engine import chunked_prefill, chunks, vision
from dycoke_cli.engine.memory.cost_model import Work
from dycoke_cli.kernels import attention
from dycoke_cli.kernels.attention import has_flash_attention
from dycoke_cli.kernels.replacing import use_custom_attention
from dycoke_cli.models.devices import free_memory
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.stock.private_api import attention_implementation
from dycoke_cli.stock.sizes import Sizes
from tests.engine.memory.test_expected_bytes import LLAVA_7B
from tests.families.stock import QUESTION, clip
from tests.families.test_chunked_prefill import Read
from tests.families.test_together import loaded_of, same

GB = 10**9
LONG = 128 * 196 + 21  # tokens of 128 frames and a question
# What reads 25,109 tokens in LLaVA-OneVision-7B: 57,344 bytes of keys and values for each, and in a
# layer 3 · 18,944 + 3 · 3,584 numbers of two bytes.
KV, LAYER = 57_344, 2 * (3 * 18_944 + 3 * 3_584)
COPIES = 2 * 28 * 128 * 2  # of shared keys and values, for each of 28 heads: behind others
ALL = LONG * (KV + LAYER) / 0.8
SOME = (LONG * (KV + COPIES) + 8192 * LAYER) / 0.8


@pytest.mark.parametrize(
    ("free", "tokens"),
    [
        (1.001 * ALL, LONG),
        (0.999 * ALL, 8192),
        (1.001 * SOME, 8192),
        (0.999 * SOME, 1024),
        (0, 1024),
    ],
)
def test_a_gpu_reads_as_much_at_once_as_fits(free: float, tokens: int) -> None:
    assert round(ALL / GB, 2) == 6.04
    assert round(SOME / GB, 2) == 3.63
    room = chunks.token_room(LLAVA_7B, 2, int(free), LONG)
    assert chunks.chunk_length(LONG, False, room) == tokens
    clip_tokens = ClipTokens(128, 196)
    work = Work.of(
        BASELINE, LLAVA_7B, clip_tokens, clip_tokens.visual, 21,
        spare=0, on_cpu=False, own_attention=False, whole=False, dtype_bytes=2, free=int(free),
    )  # fmt: skip
    assert work.chunk_len == tokens


def test_a_batch_and_its_mask_take_room() -> None:
    alone = chunks.token_room(LLAVA_7B, 2, 10 * GB, LONG)
    four = chunks.token_room(LLAVA_7B, 2, 40 * GB, LONG, batch=4)
    assert four == alone
    masked = chunks.token_room(LLAVA_7B, 2, 10 * GB, LONG, masked=True)
    assert masked / alone == pytest.approx(LAYER / (LAYER + 3 * LONG))


@pytest.mark.parametrize(("free_gb", "frames"), [(8, 32), (0.6, 8), (0, 8)])
def test_a_gpu_encodes_as_many_frames_at_once_as_fit(free_gb: float, frames: int) -> None:
    # A patch of SigLIP takes 3 · 1,152 + 2 · 4,304 numbers beside its pixels: 32 frames are 0.6 GB.
    room = chunks.pixel_room(LLAVA_7B.vision, 2, int(free_gb * GB))
    assert chunks.chunk_numbers(False, room) == frames * 3 * 384**2
    assert chunks.chunk_numbers(True, room) == 3 * 384**2


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every device is a GPU with so many free bytes."""

    def free(count: int) -> None:
        for module in (chunked_prefill, vision):
            monkeypatch.setattr(module, "free_for_passes", lambda device, dtype: count)

    return free


@pytest.mark.parametrize("method", [Uncompressed(), DyCoke(prune_layer=2, positions="kept")])
def test_prompts_are_cut_by_the_memory_that_is_free(method, on_gpu, monkeypatch) -> None:
    loaded = loaded_of("qwen2_5_vl")
    sizes = Sizes.of(loaded.model.get_decoder().config)
    monkeypatch.setattr(chunks, "LONGEST_WHOLE", 4)
    monkeypatch.setattr(chunks, "CHUNK", 5)
    monkeypatch.setattr(chunks, "LARGE_CHUNK", 11)
    session = VideoSession(loaded, clip(9), reuse=False)
    lengths, answers = [], []

    def ask(free: int) -> int:
        on_gpu(free)
        with Read(loaded.model) as read:
            answers.append(session.ask(QUESTION, method, max_new_tokens=4))
        lengths.append(read.longest)
        return read.prefilled

    tokens = ask(10**9)
    assert ask(0) == tokens > 22
    # Room for all tokens, but not for the mask that stock code makes for each.
    ask(int(1.01 * tokens * (sizes.kv * 8 + chunks.token_bytes(sizes, 8)) / 0.8))
    assert lengths == [tokens, 5, 11]
    assert all(same(one, answers[0]) for one in answers)


def test_attention_with_scores_in_memory_stays_in_small_chunks(on_gpu) -> None:
    decoder = loaded_of("qwen2_5_vl").model.get_decoder()
    on_gpu(10**12)
    names = {"sdpa": True, attention.ON_GPU: True, "flash_attention_2": True, "eager": False}
    for name, is_roomy in names.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunked_prefill, "attention_implementation", lambda _, name=name: name)
            assert (chunked_prefill._token_room(decoder, 1, 5000) > 5000) == is_roomy


def test_a_device_that_is_no_gpu_has_no_room() -> None:
    decoder = loaded_of("qwen2_5_vl").model.get_decoder()
    assert chunked_prefill._token_room(decoder, 1, 5000) <= 0


@pytest.mark.parametrize(
    ("frames", "sizes"), [((4, 1), [4, 3]), ((9, 2), [2, 2, 2, 1]), ((100, 1), [1] * 7)]
)
def test_frames_are_encoded_by_the_memory_that_is_free(frames, sizes, on_gpu, monkeypatch) -> None:
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, clip(7), reuse=False)
    pixels = session.video.inputs["pixel_values_videos"]
    monkeypatch.setattr(chunks, "FRAMES_GPU", frames)
    monkeypatch.setattr(chunks, "CHUNK_NUMBERS_CPU", pixels.numel() // 7)
    room = chunks.chunk_numbers
    monkeypatch.setattr(vision, "chunk_numbers", lambda on_cpu, pixels: room(False, pixels))
    of_tower = Sizes.of(loaded.model.config).vision
    per_frame = chunks.patch_bytes(of_tower, 8) * pixels.numel() // 7 / of_tower.patch
    on_gpu(int(8 * per_frame / 0.8))  # of 8 frames
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


@pytest.mark.parametrize(("has", "free"), [(True, 10**9), (False, 0)])
def test_large_passes_count_on_memory_only_with_flash_attention(
    has: bool, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "free_on_gpu", lambda device: 10**9)
    monkeypatch.setattr(attention, "has_flash_attention", lambda device, dtype: has)
    assert chunks.free_for_passes(torch.device("cuda"), torch.float16) == free


def test_that_mask_is_the_causal_one_of_the_last_tokens() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 4, count, 8) for count in (5, 12, 12))
    attend = torch.nn.functional.scaled_dot_product_attention
    bias = attention.last_queries(5, 12)
    scores = query @ key.mT / 8**0.5
    for row, column in product(range(5), range(12)):
        if column > row + 7:
            scores[..., row, column] = float("-inf")
    torch.testing.assert_close(attend(query, key, value, bias), scores.softmax(-1) @ value)


def test_a_model_on_a_gpu_has_masks_only_where_there_is_padding(monkeypatch) -> None:
    loaded = loaded_of("qwen2_5_vl")
    session = VideoSession(loaded, clip(9), reuse=False)
    monkeypatch.setattr(chunks, "LONGEST_WHOLE", 4)
    monkeypatch.setattr(chunks, "CHUNK", 5)
    expected = session.ask(QUESTION, Uncompressed(), max_new_tokens=4)
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
        assert same(session.ask(QUESTION, Uncompressed(), max_new_tokens=4), expected)
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
