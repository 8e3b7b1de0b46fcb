"""One stock `generate()` call, streamed and timed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteriaList

from dycoke_cli.answer.answer import TokenLogprob
from dycoke_cli.answer.answer_trace import Trace
from dycoke_cli.engine.answer_stream import AnswerStream, BatchStreamer, Receiver
from dycoke_cli.engine.decode_stats import DecodeStats
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.grammar_mask import FormedAnswer, GrammarMask
from dycoke_cli.engine.logprobs import LogprobRecorder
from dycoke_cli.engine.memory.measured import kv_bytes
from dycoke_cli.engine.prompt_batch import Batch
from dycoke_cli.engine.thread_hook import after_forward, before_forward
from dycoke_cli.engine.token_options import TokenOptions, end_tokens
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.devices import input_device
from dycoke_cli.models.families.layout import is_pixels
from dycoke_cli.stock.private_api import cache_of


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
    """Within the block, note when the text decoder is first called: vision is done then."""
    seconds: list[float] = []

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if not seconds:
            seconds.append(watch.read())

    hook = before_forward(model.get_decoder(), note)
    try:
        yield seconds
    finally:
        hook.remove()


@contextmanager
def newest_cache(model: Any) -> Iterator[list[Any]]:
    """Within the block, note the KV cache that the text decoder's newest forward returned."""
    caches: list[Any] = []

    def note(output: Any) -> None:
        caches[:] = [cache_of(output)]

    hook = after_forward(model.get_decoder(), note)
    try:
        yield caches
    finally:
        hook.remove()
        caches.clear()


@dataclass
class Generated:
    """What a call generated for one prompt, and how long it took."""

    tokens: torch.Tensor  # `[R]`, int64: the new tokens, with the end token
    text: str  # without special tokens, up to a stop text
    # whether the last one is an end token, ends a stop text, or completes the form of the answer
    stopped: bool
    seed: int | None  # of sampling, or None where decoding was greedy
    # prefill (to the first token, of the whole batch), first_token (since the watch's start),
    # decode (to its own end), by keys of `result.Seconds`
    seconds: dict[str, float]
    kv_bytes: int  # of keys and values at its end, spare entries included: this prompt's share
    kv_active_bytes: int  # of those that the last step attended to
    # tokens of options that were read behind the prompt, in place of generated ones
    scored: int = 0
    # of the tokens, without the end token; None where they weren't asked for
    logprobs: tuple[TokenLogprob, ...] | None = None
    stats: DecodeStats | None = None  # of the method, or None for the baseline
    trace: Trace | None = None  # of the decoding steps, or None where it wasn't asked for


@torch.inference_mode()
def generate(
    model: Any,
    tokenizer: Any,
    batch: Batch,
    options: GenerationOptions,
    watch: Stopwatch,
    *,
    receivers: Sequence[Receiver],
    limits: Sequence[int] | None = None,
    on_token: Callable[[int], None] | None = None,
    on_generated: Callable[[int, Generated], None] = lambda number, generated: None,
    formed: Sequence[FormedAnswer] = (),
) -> list[Generated]:
    """Generate from prompts whose videos come with `prompts.inject_videos`.

    Args:
        limits: tokens of each answer at most; None for those of the options.
        formed: answers of a given form: one per prompt, or none.
    """
    seed, own = options.seed, options.tokens or TokenOptions()
    if options.temperature > 0:
        seed = random.getrandbits(32) if seed is None else seed
        sampling: dict[str, Any] = {"do_sample": True, "temperature": options.temperature}
    else:
        seed = None
        # A checkpoint's own sampling settings mean nothing to greedy decoding.
        sampling = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    sampling |= own.arguments(sampled=options.temperature > 0)
    if formed:  # what a checkpoint suppresses in free answers may be what a form is written with
        sampling["suppress_tokens"] = []
    started = watch.read()
    device = input_device(model)
    devices = [device] if device.type == "cuda" else []
    ends, sequences = end_tokens(model), len(batch.input_ids)
    finite = _Finite(sequences, ends)
    recorder = None if own.top_logprobs is None else LogprobRecorder(sequences, own.top_logprobs)
    # The mask first: `finite` is to see what it leaves of the logits.
    processors = [*([GrammarMask(formed)] if formed else []), finite]
    if recorder is not None:
        processors.append(recorder)
    limits = limits or [options.max_new_tokens] * sequences
    forms: Sequence[FormedAnswer | None] = formed or [None] * sequences
    answers = [
        AnswerStream(
            tokenizer,
            limit,
            receiver,
            own.stop,
            _ignore if recorder is None else partial(recorder.add, number),
            form,
        )
        for number, (limit, receiver, form) in enumerate(zip(limits, receivers, forms, strict=True))
    ]
    outputs: dict[int, Generated] = {}
    first_broken: list[int] = []
    cut: list[AnswerStream] = []

    def finish(number: int) -> None:
        tokens = answers[number].tokens
        # Steps behind the end token are padding, whose logits mean nothing.
        if (broken := int(finite.broken[number])) < len(tokens):
            first_broken.append(broken)
            return
        if answers[number].is_cut(ends):
            cut.append(answers[number])
            return
        first, ended = streamer.first_token, answers[number].ended_s
        assert first is not None
        assert ended is not None
        in_all, active = kv_bytes(caches[0])
        text, logprobs = answers[number].text, None
        if recorder is not None:
            written = tokens[:-1] if tokens[-1] in ends else tokens
            # A token that begins with the space before a stop text belongs to the stop text.
            shown = text.rstrip() if forms[number] is None else text
            logprobs = tuple(recorder.of(number, written, shown, tokenizer))
        outputs[number] = Generated(
            tokens=torch.tensor(tokens),
            text=text,
            stopped=answers[number].stopped(ends),
            seed=seed,
            seconds={"prefill": first - started, "first_token": first, "decode": ended - first},
            kv_bytes=in_all // sequences,
            kv_active_bytes=active // sequences,
            logprobs=logprobs,
        )
        on_generated(number, outputs[number])

    # generate() hands every token to a streamer as soon as it is known: the only public place where
    # the first one can be timed.
    streamer = BatchStreamer(watch.read, answers, ends, on_token, finish)
    # Sampling with a seed must not change the random numbers that the caller draws afterwards.
    with torch.random.fork_rng(devices=devices), newest_cache(model) as caches:
        if seed is not None:
            torch.manual_seed(seed)
        model.generate(
            **model_inputs(model, batch),
            max_new_tokens=max(limits),
            streamer=streamer,
            stopping_criteria=StoppingCriteriaList([streamer]),
            logits_processor=LogitsProcessorList(processors),
            remove_invalid_values=False,  # which a checkpoint may ask for, and which hides them
            **sampling,
        )
    if first_broken:
        raise ModelError(not_finite(model, min(first_broken)))
    if cut:
        raise UsageError(
            f"the answer isn't complete after {len(cut[0].tokens)} tokens: {cut[0].text[-40:]!r}; "
            "raise max_new_tokens"
        )
    return [outputs[number] for number in range(sequences)]


def _ignore(token: int) -> None:
    """Record nothing."""


def model_inputs(model: Any, batch: Batch) -> dict[str, torch.Tensor]:
    """The arguments of `generate()` for prompts, where the model runs; pixels in its dtype."""
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.mask, **batch.extra_inputs}
    device = input_device(model)
    return {
        name: tensor.to(device, model.dtype if is_pixels(tensor) else tensor.dtype)
        for name, tensor in inputs.items()
    }


class _Finite(LogitsProcessor):
    """Ends a sequence where its logits aren't finite, without synchronizing with the device.

    Attributes:
        broken: `[B]`, int64: the first such step of each sequence, or a number above all steps.
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


def not_finite(model: Any, step: int) -> str:
    """The sentence about logits that aren't finite at a step, from 0."""
    where = f"at token {step + 1} of an answer"
    ways = "its weights are damaged, or don't belong to its configuration"
    if model.dtype != torch.float32:
        ways = f"try --dtype float32; if that doesn't help, {ways}"
    return f"the model can't be used: its logits aren't finite {where}; {ways}"
