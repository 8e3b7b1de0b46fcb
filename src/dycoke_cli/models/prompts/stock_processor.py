"""Loads the stock processor of a model: its tokenizer, its chat template, what it makes of frames.

All of it is read from files of strangers, which are checked before.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from transformers import AutoProcessor

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from dycoke_cli.models.files.hub import small_files
from dycoke_cli.models.files.small_files import TOKENIZER, check_small_files
from dycoke_cli.models.files.tokenizer_trial import check_tokenizer
from dycoke_cli.models.prompts.chat_template import check_template
from dycoke_cli.models.resolve import ModelRef, explained

_PARTS = ("tokenizer", "video_processor", "chat_template", "apply_chat_template")


def load_processor(source: ModelRef, revision: str | None) -> Any:
    """The stock processor of a model; of a hub model, its files are downloaded if need be.

    Args:
        source: the model.
        revision: its commit, where it is on the hub.

    Raises:
        ModelError: it can't be read, or isn't one that shows videos or several pictures.
    """
    with explained(source, "its tokenizer and processor"):
        folder = Path(source.location) if source.local else small_files(source, revision)
        if not source.local:
            check_small_files(source.name, folder)
        if folder != BUNDLED_CHECKPOINT:
            check_tokenizer(source.name, folder / TOKENIZER)
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        alone = takes_pictures_alone(processor)
        if alone and getattr(processor, "chat_template", None) is None:
            raise ModelError(
                f"{source.name} can't be shown a video: its processor ({type(processor).__name__}) "
                "has no video processor, and no chat template for several pictures"
            )
        parts = ("tokenizer",) if alone else _PARTS if takes_videos(processor) else _PARTS[:2]
        missing = next((part for part in parts if getattr(processor, part, None) is None), None)
        if missing is not None:
            raise ModelError(
                f"{source.name} can't be loaded: its processor ({type(processor).__name__}) has no "
                f"{missing}; download it again"
            )
        if alone or takes_videos(processor):
            check_template(processor)
    return processor


def takes_videos(processor: Any) -> bool:
    """Whether a processor has videos by their name: older ones have frames for pictures.

    Nor have those a chat template: the question itself is the prompt.
    """
    named = "videos" in inspect.signature(type(processor).__call__).parameters
    return named and not takes_pictures_alone(processor)


def takes_pictures_alone(processor: Any) -> bool:
    """Whether a processor knows no videos at all: frames are shown as pictures, one by one."""
    return not hasattr(processor, "video_processor")
