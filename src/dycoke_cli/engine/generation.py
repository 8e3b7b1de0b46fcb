"""One stock `generate()` call, streamed and timed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, TextStreamer

from dycoke_cli.answer.answer_trace import Trace
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.memory.measured import kv_bytes
from dycoke_cli.engine.prompt_batch import Batch
from dycoke_cli.engine.thread_hook import before_forward
from dycoke_cli.engine.trace import DecodeStats
from dycoke_cli.errors import ModelError
from dycoke_cli.models.devices import input_device
from dycoke_cli.models.families.pixels import is_pixels
from dycoke_cli.stock.cache_argument import cache_of


class Stopwatch:
    """Seconds since its making, read after all work queued on the accelerator is done."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = self._now()

    def read(self) -> float:
        """Seconds since the start."""
        return self._now() - self._start

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


@contextmanager
def seconds_at_decoder(model: Any, watch: Stopwatch) -> Iterator[list[float]]:
    """Within the block, note when the text decoder is first called: the vision side is done then.

    Args:
        model: a stock model.
        watch: the clock.

    Returns:
        A list that gets that time as its only item.
    """
    seconds: list[float] = []

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if not seconds:
            seconds.append(watch.read())

    hook = before_forward(model.get_decoder(), note)
    try:
        yield seconds
    finally:
        hook.remove()


class TimedStreamer(TextStreamer):
    """Streams finished words, times the first token, and counts tokens.

    Of a batch no words are streamed.

    Args:
        tokenizer: of the model.
        watch: the clock.
        on_text: called with each stretch of finished text.
        on_token: called with the number of tokens so far.
    """

    def __init__(
        self,
        tokenizer: Any,
        watch: Stopwatch,
        on_text: Callable[[str], None] | None,
        on_token: Callable[[int], None] | None,
    ) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.first_token: float | None = None
        self._watch = watch
        self._on_text = on_text
        self._on_token = on_token
        self._tokens = -1  # the prompt comes first

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt, then one token at a time."""
        self._tokens += 1
        if self._tokens == 1:
            self.first_token = self._watch.read()
        if len(value) == 1:  # the stock streamer refuses a batch
            super().put(value)
        if self._tokens and self._on_token is not None:
            self._on_token(self._tokens)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Stream finished words."""
        if text and self._on_text is not None:
            self._on_text(text)


@dataclass
class Generated:
    """What a call generated for one prompt, and how long it took.

    Args:
        tokens: `[R]`, int64: the new tokens, with the end token.
        text: without special tokens.
        stopped: whether the last one is an end token.
        seed: of sampling, or None where decoding was greedy.
        seconds: prefill (to the first token), first_token (since the watch's start), decode; of
            the whole batch, by keys of `result.Seconds`.
        kv_bytes: of keys and values at the end, spare entries included: this prompt's share.
        kv_host_bytes: of those that an accelerator leaves in main memory.
        kv_active_bytes: of those that the last step attended to.
        stats: of the method, or None for the baseline.
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
    options: GenerationOptions,
    watch: Stopwatch,
    *,
    on_text: Callable[[str], None] | None,
    on_token: Callable[[int], None] | None,
    observer: LogitsProcessor | None = None,
) -> list[Generated]:
    """Generate from prompts whose videos come with `prompts.inject_videos`.

    Args:
        model: a stock model.
        tokenizer: of the model.
        batch: the prompts.
        options: how to generate.
        watch: the clock of the answers.
        on_text: called with finished words of a single prompt's answer.
        on_token: called with the number of tokens so far.
        observer: sees the logits of each step (`observing`), or None.

    Raises:
        ModelError: the model's logits aren't finite.
    """
    # generate() hands every token to a streamer as soon as it is known: the only public place where
    # the first one can be timed.
    streamer = TimedStreamer(tokenizer, watch, on_text, on_token)
    seed = options.seed
    if options.temperature > 0:
        seed = random.getrandbits(32) if seed is None else seed
        sampling: dict[str, Any] = {"do_sample": True, "temperature": options.temperature}
    else:
        seed = None
        # A checkpoint's own sampling settings mean nothing to greedy decoding.
        sampling = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.mask, **batch.extra_inputs}
    started = watch.read()
    device = input_device(model)
    devices = [device] if device.type == "cuda" else []
    ends = _end_tokens(model)
    finite = _Finite(len(batch.input_ids), ends)
    # Sampling with a seed must not change the random numbers that the caller draws afterwards.
    with torch.random.fork_rng(devices=devices):
        if seed is not None:
            torch.manual_seed(seed)
        output = model.generate(
            **{name: _on(tensor, device, model.dtype) for name, tensor in inputs.items()},
            max_new_tokens=options.max_new_tokens,
            streamer=streamer,
            logits_processor=LogitsProcessorList([finite, *([observer] if observer else [])]),
            remove_invalid_values=False,  # which a checkpoint may ask for, and which hides them
            return_dict_in_generate=True,
            **sampling,
        )
    ended = watch.read()
    assert streamer.first_token is not None
    in_all, on_host, active = kv_bytes(cache_of(output))
    sequences = len(batch.input_ids)
    outputs = []
    answers = output.sequences[:, batch.input_ids.shape[1] :].cpu()
    for answer, broken in zip(answers, finite.broken.tolist(), strict=True):
        tokens = _until_end(answer, ends)
        # Steps behind the end token are padding, whose logits mean nothing.
        if broken < len(tokens):
            raise ModelError(_not_finite(model, broken))
        outputs.append(
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
                kv_bytes=in_all // sequences,
                kv_host_bytes=on_host // sequences,
                kv_active_bytes=active // sequences,
            )
        )
    return outputs


def _on(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """An input of the model where it runs; pixels in its dtype."""
    return tensor.to(device, dtype if is_pixels(tensor) else tensor.dtype)


class _Finite(LogitsProcessor):
    """Ends a sequence where its logits aren't finite, without synchronizing with the device.

    Attributes:
        broken: `[B]`, int64: the first such step of each sequence, or a number above all steps.

    Args:
        sequences: B.
        ends: the end tokens.
    """

    def __init__(self, sequences: int, ends: set[int]) -> None:
        self.broken = torch.full((sequences,), torch.iinfo(torch.int64).max)
        self._ends = sorted(ends)
        self._instead: torch.Tensor | None = None
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits `[B, V]`, float32, with those of an end token in place of broken ones."""
        # NaN and infinity reach the maximum; a token that is ruled out is -inf on purpose.
        finite = scores.amax(-1).isfinite()
        self.broken = self.broken.to(scores.device)
        self.broken = torch.where(finite, self.broken, self.broken.clamp(max=self._step))
        self._step += 1
        # Draws from what isn't finite would bring down an accelerator's whole process.
        if self._instead is None:
            ends = torch.full(scores[:1].shape, -torch.inf if self._ends else 0.0)
            ends[:, self._ends] = 0.0
            self._instead = ends.to(scores)
        return torch.where(finite[:, None], scores, self._instead)


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
