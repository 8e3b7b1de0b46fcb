"""Stages of an attached method: what each does as the text decoder reads prompts and tokens.

A `generate()` call passes three points. Before the prefill stages may change the arguments of the
text decoder, and the videos' own says where the visual tokens are. After the selection the
arguments are those of shortened prompts, and a `GenerationState` has what layers and steps share.
Each step reads more tokens behind the prompts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from dycoke_cli.compression.method import Method, Pruning, Selection
from dycoke_cli.engine.model_inputs import EmbeddedPrompts, ModelInputs
from dycoke_cli.engine.state import GenerationState
from dycoke_cli.models.families import Layout


@dataclass
class Prefill:
    """Prompts on their way into the text decoder, and what the stages make of them."""

    decoder: Any
    method: Method
    # decode pruning as each sequence gets it, with a selector of its own; None where every step
    # attends to all tokens
    pruning: Pruning | None
    inputs: ModelInputs  # with which the model was called
    given: dict[str, Any]  # keyword arguments of the decoder, for uncompressed prompts
    is_positional: bool  # whether it has other arguments as well
    prompts: EmbeddedPrompts
    kwargs: dict[str, Any]  # keyword arguments, as they were changed so far
    # after the selection
    selections: list[Selection] = field(default_factory=list)  # for each sequence
    # of each, `[M]`, int64, on the CPU: the tokens of its videos that are kept
    kept: list[torch.Tensor] = field(default_factory=list)
    at: torch.Tensor = field(init=False)  # `[B, R]`, int64: the tokens of the prompts that are read
    state: GenerationState = field(init=False)


class Stage:
    """A part of an attachment; each does nothing at a point that doesn't concern it.

    An attachment calls its stages one after the other, in the order of `attach`.
    """

    def attached(self) -> AbstractContextManager[Any]:
        """A block as long as the method is attached, for hooks of its own."""
        return nullcontext()

    def layers(self) -> Iterable[int]:
        """Numbers of the decoder layers whose inputs it changes (`LayerInputs`)."""
        return ()

    def before_prefill(self, prefill: Prefill) -> None:
        """Check or change the prompts before the method selects from them."""

    def after_selection(self, prefill: Prefill) -> None:
        """Change the shortened prompts, or the call, before the text decoder reads them."""

    def before_step(self, state: GenerationState, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the text decoder for a forward behind the prompts.

        Args:
            kwargs: which the stages before this one have made.
        """
        return kwargs


class Videos(Stage, ABC):
    """The stage that knows the videos of the prompts, and has the method select from them."""

    @abstractmethod
    def find(self, inputs: ModelInputs | None, kwargs: dict[str, Any]) -> list[list[Layout]]:
        """Where the visual tokens of each video are, in each sequence.

        Args:
            inputs: of the model; None where the text decoder is called without it.
            kwargs: of the text decoder.
        """

    @abstractmethod
    def select(self, method: Method, prompts: EmbeddedPrompts) -> list[Selection]:
        """The method's selection for each sequence."""
