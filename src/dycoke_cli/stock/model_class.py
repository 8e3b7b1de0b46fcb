"""The stock class of a model: one that is shown videos and answers in text."""

from __future__ import annotations

from typing import Any

import transformers
from transformers import AutoModelForImageTextToText

# Since the first release with a family whose models also listen.
_MULTIMODAL = getattr(transformers, "AutoModelForMultimodalLM", AutoModelForImageTextToText)


def text_part(config: Any) -> Any:
    """The configuration of the part that answers in text: of a model that also speaks, not all.

    Args:
        config: as it is stored.
    """
    return getattr(config, "thinker_config", config)


def auto_class(config: Any) -> Any:
    """The `AutoModel…` class that makes the model of a configuration.

    Args:
        config: of the model.
    """
    known = type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return AutoModelForImageTextToText if known else _MULTIMODAL


def shows_videos(config: Any) -> bool:
    """Whether a class of transformers for videos or pictures and text has this configuration."""
    mappings = ("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING", "MODEL_FOR_MULTIMODAL_LM_MAPPING")
    return any(type(config) in getattr(transformers, name, ()) for name in mappings)
