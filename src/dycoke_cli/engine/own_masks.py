"""Masks of models that make their own: frames see each other in them.

Such a model makes its mask before the text decoder, for the uncompressed prompt. It is made again,
by the model's own function, for the tokens that are left.
"""

from __future__ import annotations

from typing import Any

from dycoke_cli.engine.model_inputs import take
from dycoke_cli.engine.stage import Prefill, Stage
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, cache_of


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
