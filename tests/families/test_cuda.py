"""What CUDA alone has: FlashAttention in 16 bits, and an allocator that counts every byte."""

from __future__ import annotations

import copy
import gc
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from dycoke_cli import DyCoke, VideoSession
from dycoke_cli.compression import registry
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.generate import Stopwatch
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.engine.settling import settled
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.param import parameters_of
from tests.cuda import NEEDS_CUDA, needs_cuda
from tests.families.sessions import QUESTIONS, loaded_of, logits_of
from tests.families.stock import clip
from tests.families.tiny import make
from tests.marks import EXTENDED


def of_registry(name: str) -> Method:
    """A method with parameters that leave out something, and choose at layer 0.

    No attention came before it, so kernels that round otherwise choose the same.
    """
    wanted = {"retain": 0.5, "prune_layer": 1, "prune_ratio": 0.5, "recall_threshold": 1.0}
    wanted |= {"stage_layers": 1, "first_layer": 1, "second_layer": 1, "third_layer": 2}
    known = parameters_of(registry.METHODS[name])
    given = {parameter: value for parameter, value in wanted.items() if parameter in known}
    return registry.create(name, **given)


METHODS: dict[str, Method] = {name: of_registry(name) for name in registry.METHODS}
METHODS["ttm"] = DyCoke(kv_prune=False)
TOGETHER = [name for name, method in METHODS.items() if method.inside() is None]
"""What reads a batch; the others read one sequence at a time."""
ONE_OF_A_KIND = {(m.inside(), m.pruning()): name for name, m in METHODS.items()}.values()
"""Methods that prune in other layers or other steps: what is read before them lies alike."""
NEW_TOKENS = 6
# Logits of this model, of about 0.4, move by up to 3e-2 where what attention puts out is off by one
# rounding of 8 bits; by 1.3e-1 and more where other rows are read.
TOLERANCE = 6e-2


def on(device: str, dtype: torch.dtype) -> LoadedModel:
    # As it is stock: what float64 takes elsewhere stands in the way of other dtypes.
    model, _ = make("llava_onevision", dtype)
    return replace(loaded_of("llava_onevision"), model=copy.deepcopy(model).to(device))


def answered(loaded: LoadedModel, method: Method, around: Any, videos: int = 1) -> torch.Tensor:
    """Of each token `[T, videos, vocabulary]`, about videos that are encoded before."""
    sessions = [VideoSession(loaded, clip(5, seed), reuse=False) for seed in range(videos)]
    for session in sessions:
        session.encode(Stopwatch(loaded.input_device), settled(method, loaded.info))
    with around, logits_of(loaded.model) as found:
        questions = [Question(s, q) for s, q in zip(sessions, QUESTIONS, strict=False)]
        ask_together(questions, method, GenerationOptions(max_tokens=NEW_TOKENS))
    return torch.stack([logits[:, -1].float().cpu() for logits in found])


def check_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """The same logits up to the first close call that went the other way."""
    assert len(ours) == len(theirs) == NEW_TOKENS
    for video in range(ours.shape[1]):
        for one, other in zip(ours[:, video], theirs[:, video], strict=True):
            torch.testing.assert_close(one, other, atol=TOLERANCE, rtol=0)
            if one.argmax() != other.argmax():
                break


def takes_grouped_queries(device: str) -> bool:
    """Whether the flash kernel does; on a CPU, that of torch 2.8 doesn't."""
    query, key = (torch.zeros(1, n, 1, 8, dtype=torch.bfloat16, device=device) for n in (2, 1))
    try:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            scaled_dot_product_attention(query, key, key, enable_gqa=True)
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ONE_OF_A_KIND else EXTENDED) for n in METHODS]
)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_attention_that_takes_no_mask_is_enough_for_one_question(device, name) -> None:
    """FlashAttention refuses masks, and rows that don't lie as it wants them."""
    loaded, method = on(device, torch.bfloat16), METHODS[name]
    if not takes_grouped_queries(device):
        pytest.skip(f"the flash kernel of torch {torch.__version__} takes no groups of queries")
    plain = answered(loaded, method, sdpa_kernel(SDPBackend.MATH))
    check_close(answered(loaded, method, sdpa_kernel(SDPBackend.FLASH_ATTENTION)), plain)


@needs_cuda
@pytest.mark.skipif(find_spec("flash_attn") is None, reason="needs the package flash_attn")
@pytest.mark.parametrize("name", TOGETHER)
def test_a_batch_runs_in_flash_attention_2(name) -> None:
    loaded, method = on("cuda", torch.bfloat16), METHODS[name]
    plain = answered(loaded, method, nullcontext(), videos=3)
    loaded.model.set_attn_implementation({"text_config": "flash_attention_2"})
    check_close(answered(loaded, method, nullcontext(), videos=3), plain)


@needs_cuda
@pytest.mark.parametrize("name", METHODS)
def test_peak_memory_is_the_allocators(name) -> None:
    gc.collect()
    before = torch.cuda.memory_allocated()
    loaded, method = on("cuda", torch.float32), METHODS[name]
    tensors = [*loaded.model.parameters(), *loaded.model.buffers()]
    weights = sum(tensor.nbytes for tensor in tensors)
    # Each of them lies in blocks of 512 bytes.
    held = torch.cuda.memory_allocated() - before
    assert weights <= held <= weights + 512 * len(tensors)
    answer = VideoSession(loaded, clip(32)).ask("Why?", method, max_tokens=NEW_TOKENS)
    most = torch.cuda.max_memory_allocated()
    assert answer.bytes.weights == weights
    assert answer.bytes.peak_total == most
    assert answer.bytes.peak_working == most - weights
    assert most - held - before >= answer.bytes.kv_cache > 0
