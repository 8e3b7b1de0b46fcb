"""One stock `generate()` call, streamed and timed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from dycoke_cli.engine.decoding import Decoding
from dycoke_cli.engine.kv_store import KVStore
from dycoke_cli.engine.prompts import Batch
from dycoke_cli.engine.stats import DecodeStats
from dycoke_cli.engine.stopwatch import Stopwatch, TimedStreamer
from dycoke_cli.models.devices import input_device
from dycoke_cli.result import Trace


@dataclass
class Generated:
    """What a call wrote for one prompt, and how long it took.

    Args:
        tokens: `[R]`, int64: the new tokens, with the end token.
        text: without special tokens.
        stopped: whether the last one is an end token.
        seed: of the draw, or None where decoding was greedy.
        seconds: prefill (to the first token), first_token (since the watch's start), decode; of
            the whole batch, by keys of `result.Seconds`.
        kv_bytes: of keys and values held at the end, spare rows included: this prompt's share.
        kv_host_bytes: of those that an accelerator leaves in main memory.
        kv_active_bytes: of those that the last step read.
        stats: of the method, or None for the uncompressed model.
        trace: of the decoding steps, or None where it wasn't asked for.
    """

    tokens: torch.Tensor
    text: str
    stopped: bool
    seed: int | None
    seconds: dict[str, float]
    kv_bytes: int
    kv_host_bytes: int
    kv_active_bytes: int
    stats: DecodeStats | None = None
    trace: Trace | None = None


@torch.inference_mode()
def generate(
    model: Any,
    tokenizer: Any,
    batch: Batch,
    decoding: Decoding,
    watch: Stopwatch,
    *,
    on_text: Callable[[str], None] | None,
    on_token: Callable[[int], None] | None,
) -> list[Generated]:
    """Generate from prompts whose videos come with `inject.encoded`.

    Args:
        model: a stock model.
        tokenizer: of the model.
        batch: the prompts.
        decoding: how to write.
        watch: the clock of the answers.
        on_text: called with finished words of a single prompt's answer.
        on_token: called with the number of tokens so far.
    """
    streamer = TimedStreamer(tokenizer, watch, on_text, on_token)
    seed = decoding.seed
    if decoding.temperature > 0:
        seed = random.getrandbits(32) if seed is None else seed
        how: dict[str, Any] = {"do_sample": True, "temperature": decoding.temperature}
    else:
        seed = None
        # A checkpoint's own sampling settings mean nothing to greedy decoding.
        how = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.mask, **batch.beside}
    started = watch.read()
    device = input_device(model)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        if seed is not None:
            torch.manual_seed(seed)
        output = model.generate(
            **{name: tensor.to(device) for name, tensor in inputs.items()},
            max_new_tokens=decoding.max_new_tokens,
            streamer=streamer,
            return_dict_in_generate=True,
            **how,
        )
    ended = watch.read()
    assert streamer.first_token is not None
    ends = _end_tokens(model)
    held, on_host, active = kv_bytes(output.past_key_values)
    rows = len(batch.input_ids)
    written = []
    for row in output.sequences[:, batch.input_ids.shape[1] :].cpu():
        tokens = _until_end(row, ends)
        written.append(
            Generated(
                tokens=tokens,
                text=tokenizer.decode(tokens, skip_special_tokens=True).strip(),
                stopped=int(tokens[-1]) in ends,
                seed=seed,
                seconds={
                    "prefill": streamer.first_token - started,
                    "first_token": streamer.first_token,
                    "decode": ended - streamer.first_token,
                },
                kv_bytes=held // rows,
                kv_host_bytes=on_host // rows,
                kv_active_bytes=active // rows,
            )
        )
    return written


def _until_end(tokens: torch.Tensor, ends: set[int]) -> torch.Tensor:
    """The tokens up to and with the first end token: behind it a batch is padded."""
    stop = next((i for i, token in enumerate(tokens.tolist()) if token in ends), len(tokens) - 1)
    return tokens[: stop + 1]


def kv_bytes(cache: Any) -> tuple[int, int, int]:
    """Bytes (held, those of them on the host, read by the last step) of a cache."""
    if isinstance(cache, KVStore):
        return cache.nbytes, cache.host_nbytes, cache.active_nbytes
    tensors = [value for layer in cache.layers for value in vars(layer).values()]
    held = sum(tensor.nbytes for tensor in tensors if torch.is_tensor(tensor))
    return held, 0, held


def _end_tokens(model: Any) -> set[int]:
    end = model.generation_config.eos_token_id
    if end is None:
        return set()
    return set(end) if isinstance(end, list) else {end}
