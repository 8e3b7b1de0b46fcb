"""Stock class of a model that takes videos or images and generates text."""

from __future__ import annotations

from typing import Any

import transformers
from transformers import AutoModelForImageTextToText

# Releases before the first family with audio input lack this class.
_MULTIMODAL = getattr(transformers, "AutoModelForMultimodalLM", AutoModelForImageTextToText)


def text_part(config: Any) -> Any:
    """Configuration of the part of a model that generates text.

    Omni models consist of a "thinker", which generates text, and a "talker" for speech.
    """
    return getattr(config, "thinker_config", config)


def auto_class(config: Any) -> Any:
    """The `AutoModel…` class for a configuration."""
    image_text = type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return AutoModelForImageTextToText if image_text else _MULTIMODAL


def shows_videos(config: Any) -> bool:
    """Whether transformers has a model class with video or image input for a configuration."""
    mappings = ("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING", "MODEL_FOR_MULTIMODAL_LM_MAPPING")
    return any(type(config) in getattr(transformers, name, ()) for name in mappings)
