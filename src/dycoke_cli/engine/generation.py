"""One stock `generate()` call, streamed and timed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from dycoke_cli.engine.kv_store import KVStore
from dycoke_cli.engine.stats import DecodeStats
from dycoke_cli.engine.stopwatch import Stopwatch, TimedStreamer
from dycoke_cli.engine.trace import Trace


@dataclass
class Generated:
    """What a call wrote and how long it took.

    Args:
        tokens: `[R]`, int64: the new tokens, with the end token.
        text: without special tokens.
        stopped: whether the last one is an end token.
        seed: of the draw, or None where decoding was greedy.
        seconds: prefill (to the first token), first_token (since the watch's start), decode.
        kv_bytes: of keys and values held at the end, spare rows included.
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
    kv_active_bytes: int
    stats: DecodeStats | None = None
    trace: Trace | None = None


@torch.inference_mode()
def generate(
    model: Any,
    tokenizer: Any,
    input_ids: torch.Tensor,
    beside: dict[str, torch.Tensor],
    watch: Stopwatch,
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int | None,
    on_text: Callable[[str], None] | None,
    on_token: Callable[[int], None] | None,
) -> Generated:
    """Generate from a prompt whose video comes with `inject.encoded`.

    Args:
        model: a stock model.
        tokenizer: of the model.
        input_ids: `[1, S]`, int64.
        beside: what goes with the ids: kinds of tokens, the grid that positions are made from.
        watch: the clock of the answer.
        max_new_tokens: at most.
        temperature: 0 is greedy.
        seed: of the draw; None takes a fresh one.
        on_text: called with finished words.
        on_token: called with the number of tokens so far.
    """
    streamer = TimedStreamer(tokenizer, watch, on_text, on_token)
    if temperature > 0:
        seed = random.getrandbits(32) if seed is None else seed
        how: dict[str, Any] = {"do_sample": True, "temperature": temperature}
    else:
        seed = None
        # A checkpoint's own sampling settings mean nothing to greedy decoding.
        how = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    started = watch.read()
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        if seed is not None:
            torch.manual_seed(seed)
        output = model.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            **{name: tensor.to(model.device) for name, tensor in beside.items()},
            max_new_tokens=max_new_tokens,
            streamer=streamer,
            return_dict_in_generate=True,
            **how,
        )
    ended = watch.read()
    assert streamer.first_token is not None
    tokens = output.sequences[0, input_ids.shape[1] :].cpu()
    held, active = _kv_bytes(output.past_key_values)
    return Generated(
        tokens=tokens,
        text=tokenizer.decode(tokens, skip_special_tokens=True).strip(),
        stopped=int(tokens[-1]) in _end_tokens(model),
        seed=seed,
        seconds={
            "prefill": streamer.first_token - started,
            "first_token": streamer.first_token,
            "decode": ended - streamer.first_token,
        },
        kv_bytes=held,
        kv_active_bytes=active,
    )


def _kv_bytes(cache: Any) -> tuple[int, int]:
    """Bytes (held, read by the last step) of a cache."""
    if isinstance(cache, KVStore):
        return cache.nbytes, cache.active_nbytes
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    return held, held


def _end_tokens(model: Any) -> set[int]:
    end = model.generation_config.eos_token_id
    if end is None:
        return set()
    return set(end) if isinstance(end, list) else {end}
