"""One stock `generate()` call, streamed and timed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from dycoke_cli.engine.decoding import Decoding
from dycoke_cli.engine.memory.measured import kv_bytes
from dycoke_cli.engine.prompts import Batch
from dycoke_cli.engine.stats import DecodeStats
from dycoke_cli.engine.stopwatch import Stopwatch, TimedStreamer
from dycoke_cli.engine.trace import Trace
from dycoke_cli.errors import ModelError
from dycoke_cli.models.devices import input_device


@dataclass
class Generated:
    """What a call wrote for one prompt, and how long it took.

    Args:
        tokens: `[R]`, int64: the new tokens, with the end token.
        text: without special tokens.
        stopped: whether the last one is an end token.
        seed: of the draw, or None where decoding was greedy.
        seconds: prefill (to the first token), first_token (since the watch's start), decode; of
            the whole batch.
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

    Raises:
        ModelError: the model's logits aren't finite.
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
    ends = _end_tokens(model)
    finite = _Finite(len(batch.input_ids), ends)
    with torch.random.fork_rng(devices=devices):
        if seed is not None:
            torch.manual_seed(seed)
        output = model.generate(
            **{name: tensor.to(device) for name, tensor in inputs.items()},
            max_new_tokens=decoding.max_new_tokens,
            streamer=streamer,
            logits_processor=LogitsProcessorList([finite]),
            remove_invalid_values=False,  # which a checkpoint may ask for, and which hides them
            return_dict_in_generate=True,
            **how,
        )
    ended = watch.read()
    assert streamer.first_token is not None
    held, on_host, active = kv_bytes(output.past_key_values)
    rows = len(batch.input_ids)
    written = []
    answers = output.sequences[:, batch.input_ids.shape[1] :].cpu()
    for row, broken in zip(answers, finite.broken.tolist(), strict=True):
        tokens = _until_end(row, ends)
        if broken < len(tokens):
            raise ModelError(_not_finite(model, broken))
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


class _Finite(LogitsProcessor):
    """Ends a sequence where its logits aren't finite; the device isn't waited for.

    Attributes:
        broken: `[B]`, int64: the first such step of each sequence, or a number above all steps.

    Args:
        sequences: B.
        ends: the end tokens.
    """

    def __init__(self, sequences: int, ends: set[int]) -> None:
        self.broken = torch.full((sequences,), torch.iinfo(torch.int64).max)
        self._ends = sorted(ends)
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits `[B, V]`, float32, with those of an end token in place of broken ones."""
        # NaN and infinity reach the maximum; a token that is ruled out is -inf on purpose.
        finite = scores.amax(-1).isfinite()
        self.broken = self.broken.to(scores.device)
        self.broken = torch.where(finite, self.broken, self.broken.clamp(max=self._step))
        self._step += 1
        # Draws from what isn't finite would bring down an accelerator's whole process.
        instead = torch.full_like(scores[:1], -torch.inf if self._ends else 0.0)
        instead[:, self._ends] = 0.0
        return torch.where(finite[:, None], scores, instead)


def _not_finite(model: Any, step: int) -> str:
    where = f"at token {step + 1} of an answer"
    ways = "its weights are damaged, or don't belong to its configuration"
    if model.dtype != torch.float32:
        ways = f"try --dtype float32; if that doesn't help, {ways}"
    return f"the model can't be used: its logits aren't finite {where}; {ways}"


def _until_end(tokens: torch.Tensor, ends: set[int]) -> torch.Tensor:
    """The tokens up to and with the first end token: behind it a batch is padded."""
    stop = next((i for i, token in enumerate(tokens.tolist()) if token in ends), len(tokens) - 1)
    return tokens[: stop + 1]


def _end_tokens(model: Any) -> set[int]:
    end = model.generation_config.eos_token_id
    if end is None:
        return set()
    return set(end) if isinstance(end, list) else {end}
