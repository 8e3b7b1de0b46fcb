"""Decoding steps as a CUDA graph: what a step launches is recorded once per `generate()` call.

Of a step of 7 billion parameters on a GPU, reading the weights takes 3 ms, and launching a thousand
operations from Python takes 20. So from the second step of a call on, the text decoder's part runs
as a graph (`static_step`), and the host only starts it. What `generate()` does around it (sampling,
streaming, forms) stays as it is.

When the storage is full, it grows, and the step is recorded again. If a step can't be recorded, or
if its first replay gives something else than the step itself, `flat_decode` makes the steps of that
call: cache and selectors are valid at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from dycoke_cli.compression.kv_pruning import VisualSelector
from dycoke_cli.engine.flat_decode import FlatDecoder, agree
from dycoke_cli.engine.generation_state import (
    STATE_ARGUMENT,
    DecodeStep,
    GenerationState,
    Records,
)
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.static_step import StaticStep
from dycoke_cli.engine.thread_hook import changed_by_others
from dycoke_cli.kernels.attention import computes_sdpa
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, attention_implementation, cache_of

# torch records one graph at a time in a process.
_recording = threading.Lock()

Run = Callable[[], torch.Tensor]


def has_graphs(device: torch.device) -> bool:
    """Whether steps on a device are recorded."""
    return device.type == "cuda"


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """The stream that records: libraries keep their work space for each stream that they saw."""
    return torch.cuda.Stream(device)


def record(run: Run, rewind: Callable[[], None], device: torch.device) -> tuple[torch.Tensor, Run]:
    """Run a step, and record it as a CUDA graph.

    Args:
        rewind: undoes what the step changed.

    Returns:
        What the step returned, and the function that replays it. The step's changes are undone.

    Raises:
        RuntimeError: it can't be recorded.
    """
    current, aside = torch.cuda.current_stream(device), _aside(device)
    with _recording, torch.cuda.device(device):
        aside.wait_stream(current)
        # The first run sets up libraries, which can't be recorded, on the stream that records.
        with torch.cuda.stream(aside):
            expected = run()
            rewind()
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may go on using the device.
            with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
                output = run()
        finally:
            torch.cuda.set_stream(current)  # where it fails, torch before 2.15 leaves the other one

    def replay() -> torch.Tensor:
        graph.replay()
        return output

    return expected, replay


class GraphedDecoder(FlatDecoder):
    """The decoding steps of one call: flat ones, from the second on as a graph where it can be."""

    def __init__(self, decoder: Any) -> None:
        super().__init__(decoder)
        self._static: StaticStep | None = None
        self._replay: Run | None = None
        # The first step settles the pruned layers and makes the first selection.
        self._is_first, self._may_record = True, True

    def step(self, arguments: dict[str, Any]) -> BaseModelOutputWithPast:
        """See `FlatDecoder.step`."""
        is_first, self._is_first = self._is_first, False
        if is_first or not self._may_record:
            return super().step(arguments)
        hidden, positions = self._read(arguments)
        static, replay = self._static, self._replay
        if static is None or static.is_full:
            # Without references to it, its storage is freed as the next one takes over each layer.
            self._static = self._replay = static = replay = None
            if self._can_record(hidden, arguments):
                static, replay = self._recorded(hidden, positions, arguments)
        if static is None or replay is None or not static.follows(len(hidden)):
            self._static = self._replay = None
            self._may_record = False  # in this call
            return super().step(arguments)
        self._static, self._replay = static, replay
        static.read(hidden, positions)
        last = replay().clone()  # the next replay writes to the same memory
        static.count()
        made = {CACHE_ARGUMENT: cache_of(arguments)}
        return BaseModelOutputWithPast(last_hidden_state=last[:, None], **made)

    def _recorded(
        self, hidden: torch.Tensor, positions: torch.Tensor, arguments: dict[str, Any]
    ) -> tuple[StaticStep | None, Run | None]:
        """A step on storage of its own, and what replays it; None where that can't be."""
        cache, state = cache_of(arguments), arguments.get(STATE_ARGUMENT)
        try:
            rotary = self._decoder.rotary_emb
            static = StaticStep(self._layers, self._norm, rotary, cache, state, hidden, positions)
            with static.undone():
                expected, replay = record(static.run, static.rewind, hidden.device)
                is_same = agree(replay(), expected)
        except RuntimeError:  # what torch and CUDA raise, also for want of memory
            return None, None
        return (static, replay) if is_same else (None, None)

    def _can_record(self, hidden: torch.Tensor, arguments: dict[str, Any]) -> bool:
        """Whether `StaticStep` computes this step, and nothing in it waits for the device."""
        cache, state = cache_of(arguments), arguments.get(STATE_ARGUMENT)
        name, rotary = attention_implementation(self._decoder), self._decoder.rotary_emb
        weights = {(type(p), p.device, p.dtype) for p in self._decoder.parameters()}
        return (
            has_graphs(hidden.device)
            and not torch.is_grad_enabled()
            and weights == {(nn.Parameter, hidden.device, hidden.dtype)}
            # Their weights are read: what a subclass, an adapter or a hook does would be missing.
            and all(
                type(part) is nn.Linear and not changed_by_others(part)
                for layer in self._layers
                for part in layer.products
            )
            and not changed_by_others(rotary)
            # Others compare positions on the host.
            and getattr(rotary, "rope_type", "dynamic") not in ("dynamic", "longrope")
            and (computes_sdpa(name) or "flash" in name)
            # Without a method it is a plain step (`flat_decode`), whose cache is a stock one.
            and (state is None or _selects_in_place(cache, state))
        )


def _selects_in_place(cache: Any, state: GenerationState) -> bool:
    selectors = [sequence.selector for sequence in state.sequences]
    return (
        isinstance(cache, KVStore)
        and cache.is_in_place
        and type(state.step) is DecodeStep
        and type(state.records) is Records
        and all(
            one is None or (type(one) is VisualSelector and one.variant == "paper")
            for one in selectors
        )
    )
