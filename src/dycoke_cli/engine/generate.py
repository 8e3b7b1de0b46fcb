"""One `generate()` call: streamed, ended at stop texts, and what it takes of time and memory."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)
from transformers.generation.streamers import BaseStreamer

from dycoke_cli.answer.answer import Answer, Trace
from dycoke_cli.engine.generation_options import GenerationOptions, TokenOptions, end_tokens
from dycoke_cli.engine.grammar_mask import FormedAnswer, GrammarMask
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.state import DecodeStats
from dycoke_cli.engine.vision import Batch
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.kernels.quantize import tensor_bytes
from dycoke_cli.kernels.replacing import packed_bytes
from dycoke_cli.models.devices import input_device
from dycoke_cli.models.families.layout import is_pixels
from dycoke_cli.stock.forward import after_forward, before_forward
from dycoke_cli.stock.private_api import cache_of


def end_at(text: str, stops: Sequence[str]) -> int | None:
    """Where the first of some texts begins in a text; None where there is none."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return min(found, default=None)


class Pieces:
    """The text that each token adds; one that ends within a character adds nothing yet.

    Each is decoded behind the piece before it alone, so that a long answer isn't decoded anew at
    each token. That piece is needed: tokenizers leave out the space in front of a first word.
    """

    def __init__(self, tokenizer: Any, **decoding: bool) -> None:
        self._decode = partial(tokenizer.decode, skip_special_tokens=True, **decoding)
        self._tokens: list[int] = []
        self._read = 0  # of these tokens, those of the piece before

    def add(self, token: int) -> str:
        """The piece of one more token."""
        self._tokens.append(token)
        text, before = self._decode(self._tokens), self._decode(self._tokens[: self._read])
        if text.endswith("\ufffd"):
            return ""
        piece: str = text[len(before) :]
        if piece:
            self._tokens = self._tokens[self._read :]
        self._read = len(self._tokens)
        return piece


class UntilStop:
    """Text that comes in pieces, up to the first stop text."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self._ended = False

    def add(self, piece: str, last: bool = False) -> str:
        """The text that is certain to be part of the answer, now that this piece has come.

        Args:
            last: whether none comes behind it.
        """
        if self._ended:
            return ""
        text = self._held + piece
        if (end := end_at(text, self._stops)) is not None:
            self._ended = True
            return text[:end]
        kept = len(text) if last else len(text) - self._begun(text)
        self._held = text[kept:]
        return text[:kept]

    def _begun(self, text: str) -> int:
        """Characters at the end of a text that may be the beginning of a stop text."""
        longest = max(map(len, self._stops), default=0) - 1
        return next(
            (
                length
                for length in range(min(longest, len(text)), 0, -1)
                if any(stop.startswith(text[-length:]) for stop in self._stops)
            ),
            0,
        )


@dataclass(frozen=True)
class Receiver:
    """Callbacks of one answer of a batch."""

    # called with each stretch of finished text, or None
    on_text: Callable[[str], None] | None = None
    # called with the answer as soon as it ends: of a batch, others may go on
    on_answer: Callable[[Answer], None] = lambda answer: None
    has_left: Callable[[], bool] = lambda: False  # called at each token; true ends the answer

    def receive(self, answer: Answer) -> None:
        """Take an answer that wasn't streamed."""
        if self.on_text is not None:
            self.on_text(answer.answer)
        self.on_answer(answer)


NOBODY = Receiver()
"""Receives nothing: the answers are returned all the same."""


class AnswerStream:
    """One answer of a batch while it is generated.

    Attributes:
        tokens: so far, with the end token.
        ended_s: when it ended, on the batch's clock; None before.

    Args:
        formed: where it is in its form; None for free text.
    """

    def __init__(
        self,
        tokenizer: Any,
        most_tokens: int,
        receiver: Receiver = NOBODY,
        stops: Sequence[str] = (),
        formed: FormedAnswer | None = None,
    ) -> None:
        self.tokens: list[int] = []
        self.ended_s: float | None = None
        self.most_tokens = most_tokens
        self._tokenizer, self._receiver = tokenizer, receiver
        self._stops, self._formed = stops, formed
        self._pieces, self._said = Pieces(tokenizer, **self._decoding), ""
        on_text = self._receiver.on_text
        self._words = (
            None if on_text is None else _Words(tokenizer, on_text, stops, **self._decoding)
        )

    def add(self, token: int, ends: Collection[int]) -> bool:
        """Add a token, and stream the words that it finishes; return whether it is the last one."""
        self.tokens.append(token)
        if self._stops:
            self._said += self._pieces.add(token)
        if self._words is not None:
            self._words.put(torch.tensor([token]))
        last = token in ends or len(self.tokens) == self.most_tokens or self._receiver.has_left()
        if self._formed is not None and token not in ends:
            last = self._formed.add(token) or last
        last = last or self._is_at_stop
        if last and self._words is not None:
            self._words.end()
        return last

    @property
    def text(self) -> str:
        """The answer without special tokens; free text has no space around.

        Space before a stop text is part of the answer, as a stream has sent it by then.
        """
        text: str = self._tokenizer.decode(self.tokens, skip_special_tokens=True, **self._decoding)
        end = end_at(text, self._stops)
        free = text.strip() if end is None else text[:end].lstrip()
        return text if self._formed is not None else free

    def stopped(self, ends: Collection[int]) -> bool:
        """Whether it ended by itself: by an end token, a stop text, or as its form is complete."""
        complete = self._formed is not None and self._formed.is_complete
        return self.tokens[-1] in ends or complete or self._is_at_stop

    def is_cut(self, ends: Collection[int]) -> bool:
        """Whether it ended before its form was complete."""
        return self._formed is not None and not self.stopped(ends)

    @property
    def _is_at_stop(self) -> bool:
        return end_at(self._said, self._stops) is not None

    @property
    def _decoding(self) -> dict[str, bool]:
        # Some tokenizers take the space out of " ,", which would change a formed text.
        return {} if self._formed is None else {"clean_up_tokenization_spaces": False}


class _Words(TextStreamer):
    """Streams the finished words of one answer."""

    def __init__(
        self,
        tokenizer: Any,
        on_text: Callable[[str], None],
        stops: Sequence[str],
        **decoding: bool,
    ) -> None:
        super().__init__(tokenizer, skip_special_tokens=True, **decoding)
        self._on_text, self._until = on_text, UntilStop(stops)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """See `TextStreamer`."""
        if text := self._until.add(text, stream_end):
            self._on_text(text)


class BatchStreamer(BaseStreamer, StoppingCriteria):
    """Streams each answer of a batch, times the first token, and ends each answer by itself.

    It is both the streamer and a stopping criterion of a `generate()` call. `generate()` pads an
    answer that has ended until the last one ends.

    Attributes:
        first_token: seconds until the first tokens, which all answers get at once; None before.

    Args:
        now: seconds on the batch's clock.
    """

    def __init__(
        self,
        now: Callable[[], float],
        answers: Sequence[AnswerStream],
        ends: Collection[int] = (),
        on_token: Callable[[int], None] | None = None,
        on_end: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.first_token: float | None = None
        self._now, self._answers, self._ends = now, answers, ends
        self._on_token, self._on_end = on_token, on_end
        self._steps = -1  # the prompt comes first
        self._prompt_length = 0

    def put(self, value: torch.Tensor) -> None:
        """Take the prompts `[B, S]`, then one token of each answer, `[B]`, at a time; int64."""
        self._steps += 1
        if not self._steps:
            self._prompt_length = value.shape[-1]
            return
        if self._steps == 1:
            self.first_token = self._now()
        for number, (answer, token) in enumerate(zip(self._answers, value.tolist(), strict=True)):
            if answer.ended_s is None and answer.add(token, self._ends):
                answer.ended_s = self._now()
                self._on_end(number)
        if self._on_token is not None:
            self._on_token(self._steps)

    def end(self) -> None:
        """Nothing: each answer has ended by itself."""

    def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        """Whether each answer has ended: `[B]`, bool; `input_ids` is `[B, S + steps]`, int64.

        Of releases of transformers some ask before `put` gets the newest tokens, some behind it.
        """
        steps = input_ids.shape[1] - self._prompt_length
        over = [a.ended_s is not None or steps >= a.most_tokens for a in self._answers]
        return torch.tensor(over, device=input_ids.device)


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
    # The mask first: `finite` is to see what it leaves of the logits.
    processors = [*([GrammarMask(formed)] if formed else []), finite]
    limits = limits or [options.max_tokens] * sequences
    forms: Sequence[FormedAnswer | None] = formed or [None] * sequences
    answers = [
        AnswerStream(tokenizer, limit, receiver, own.stop, form)
        for limit, receiver, form in zip(limits, receivers, forms, strict=True)
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
        outputs[number] = Generated(
            tokens=torch.tensor(tokens),
            text=answers[number].text,
            stopped=answers[number].stopped(ends),
            seed=seed,
            seconds={"prefill": first - started, "first_token": first, "decode": ended - first},
            kv_bytes=in_all // sequences,
            kv_active_bytes=active // sequences,
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
            "raise max_tokens"
        )
    return [outputs[number] for number in range(sequences)]


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


class PeakMemory:
    """Peak memory by the allocator of the GPUs, from its making on; on CUDA alone.

    Nothing measures it on a CPU: resident memory is that of the process. It doesn't rise where
    memory that was freed before is used again, and it rises where weights that are mapped from
    their file are read for the first time.
    """

    def __init__(self, devices: Sequence[torch.device], weights_bytes: int) -> None:
        self._gpus = [device for device in devices if device.type == "cuda"]
        self._weights = weights_bytes
        for gpu in self._gpus:
            torch.cuda.reset_peak_memory_stats(gpu)

    def read(self) -> tuple[int | None, int | None]:
        """Bytes (working, total) at the peak so far, each GPU at its own; None on other devices.

        Working is everything but the weights, what was allocated before included.
        """
        if not self._gpus:
            return None, None
        total = sum(torch.cuda.max_memory_allocated(gpu) for gpu in self._gpus)
        return total - self._weights, total


def kv_bytes(cache: Any) -> tuple[int, int]:
    """Bytes of a cache: (in all, spare entries included; read by the last step)."""
    if isinstance(cache, KVStore):
        return cache.nbytes, cache.active_nbytes
    # All tensors that its layers have: kinds of layers name their states differently, and linear
    # attention has them in dictionaries.
    states = [state for layer in cache.layers for state in vars(layer).values()]
    parts = [part for one in states for part in (one.values() if isinstance(one, dict) else (one,))]
    nbytes = sum(part.nbytes for part in parts if torch.is_tensor(part))
    return nbytes, nbytes


def read_per_token(model: Any, kv_active: int) -> int | None:
    """Bytes that one decoding step reads for one sequence; None where that isn't known.

    A generated token takes one pass over the weights, so that bandwidth bounds the speed: times
    tokens per second, a figure above the device's own says that something else was measured.

    Args:
        kv_active: bytes of the keys and values that the step attends to.
    """
    weights = weights_read(model)
    return None if weights is None else weights + kv_active


def weights_read(model: Any) -> int | None:
    """Bytes of the text decoder and of the output layer.

    Of an embedding table a step reads one embedding, which isn't counted. A table that is also the
    output layer is counted once. None for a mixture of experts, of which a step reads only those
    that the token is routed to.
    """
    decoder, output = model.get_decoder(), model.get_output_embeddings()
    if output is None or any("experts" in name for name, _ in decoder.named_modules()):
        return None
    tables = [part for part in decoder.modules() if isinstance(part, torch.nn.Embedding)]
    looked_up = {id(tensor) for table in tables for tensor in table.parameters()}
    computed = [tensor for tensor in _tensors(decoder) if id(tensor) not in looked_up]
    whole = sum(map(tensor_bytes, (*computed, *_tensors(output))))
    return whole + packed_bytes(decoder) + packed_bytes(output)


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()
