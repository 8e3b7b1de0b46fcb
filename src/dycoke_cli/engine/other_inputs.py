"""What some text decoders read beside embeddings and positions: DeepStack's rows, own masks."""

from __future__ import annotations

from typing import Any

import torch

from dycoke_cli.engine.model_inputs import take
from dycoke_cli.engine.state import GenerationState, Prefill, Stage
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.engine.thread_hook import Arguments
from dycoke_cli.models.families.layout import DEEPSTACK, VISUAL_MASK
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, cache_of


class DeepStack:
    """DeepStack embeddings and their places in shortened sequences.

    Args:
        places: `[B, R]`, bool: the tokens that are added to.
        stacked: for each of the first layers `[V, D]`: what is added behind it.
    """

    def __init__(self, places: torch.Tensor, stacked: list[torch.Tensor]) -> None:
        self._places, self._stacked = places, stacked

    def of_chunk(self, start: int, stop: int) -> DeepStack:
        """See `LayerInputs.of_chunk`."""
        places = self._places[:, start:stop]
        which = _numbers(self._places)[:, start:stop][places]
        return DeepStack(places, [values[which.to(values.device)] for values in self._stacked])

    def before_layer(self, state: GenerationState, number: int, arguments: Arguments) -> Arguments:
        """The input of a layer, with what is added behind the layer before it."""
        (hidden, *rest), kwargs = arguments
        return (self._added(hidden, number, state.left), *rest), kwargs

    def _added(self, hidden: torch.Tensor, layer: int, left: torch.Tensor | None) -> torch.Tensor:
        """Hidden states `[B, R, D]` or, behind in-LLM token pruning, of the tokens `left`."""
        if not 1 <= layer <= len(self._stacked):
            return hidden
        places, values = self._places, self._stacked[layer - 1]
        # The prune layer itself still gets all tokens, and drops them on its way in. Behind it
        # dropped visual tokens have no place, and their values are left out.
        if left is not None and hidden.shape[1] < places.shape[1]:
            values = values[torch.isin(places[0].nonzero().flatten(), left.to(places.device))]
            places = places[:, left.to(places.device)]
        hidden = hidden.clone()
        hidden[places.to(hidden.device)] += values.to(hidden)
        return hidden


class AddedByLayer(Stage):
    """Takes DeepStack out of the arguments of the text decoder, and adds it before its layers."""

    def __init__(self, model: Any) -> None:
        vision = getattr(model.config, "vision_config", None)
        self._stacked = len(getattr(vision, "deepstack_visual_indexes", None) or ())

    def layers(self) -> range:
        """It is added to the output of the first layers: that is the input of layers 1, 2, …"""
        return range(1, self._stacked + 1)

    def before_prefill(self, prefill: Prefill) -> None:
        """Take it out."""
        if _is_in(prefill.given):
            prefill.kwargs |= {DEEPSTACK: None, VISUAL_MASK: None}

    def after_selection(self, prefill: Prefill) -> None:
        """Keep that of the tokens that are read."""
        if not _is_in(prefill.given):
            return
        stacked, at = prefill.given[DEEPSTACK], prefill.at
        # `stacked` has a row for each visual token of the S, not for each token: its number there.
        number = _numbers(prefill.given[VISUAL_MASK]).to(at.device)
        places = torch.zeros(at.shape, dtype=torch.bool, device=at.device)
        for row, sequence in enumerate(prefill.state.sequences):
            places[row, sequence.visual.to(at.device)] = True
        which = number.gather(1, at)[places]
        deepstack = DeepStack(places, [values[which.to(values.device)] for values in stacked])
        prefill.state.layer_inputs.append(deepstack)


def _is_in(kwargs: dict[str, Any]) -> bool:
    return kwargs.get(DEEPSTACK) is not None and kwargs.get(VISUAL_MASK) is not None


def _numbers(places: torch.Tensor) -> torch.Tensor:
    """For each true place of `[B, R]` its number among them."""
    return (places.flatten().cumsum(0) - 1).view(places.shape)


def makes_own_masks(model: Any) -> bool:
    """Whether a model makes masks that aren't just causal."""
    return "create_masks_for_generate" in vars(type(model))


def prefills_whole(model: Any) -> bool:
    """Whether a model reads each prompt in one piece, whatever the method (`can_be_chunked`)."""
    return makes_own_masks(model) or bool(other_caches(model.get_decoder().config))


class OwnMasks(Stage):
    """Has a model make its mask again."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def after_selection(self, prefill: Prefill) -> None:
        """Put in the mask of the shortened prompts."""
        kwargs, types = prefill.kwargs, prefill.inputs.types
        kwargs["attention_mask"] = self._model.create_masks_for_generate(
            config=self._model.config,
            inputs_embeds=kwargs["inputs_embeds"],
            attention_mask=kwargs["attention_mask"],
            position_ids=kwargs["position_ids"],
            mm_token_type_ids=None if types is None else take(types, prefill.at),
            is_first_iteration=True,
            **{CACHE_ARGUMENT: cache_of(kwargs)},
        )
