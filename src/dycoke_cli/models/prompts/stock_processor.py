"""Loads the stock processor of a model: tokenizer, chat template, image or video processor.

The files come from third parties and are checked first.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from transformers import AutoProcessor

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from dycoke_cli.models.files.hub import small_files
from dycoke_cli.models.files.read_errors import explained
from dycoke_cli.models.files.small_files import TOKENIZER, check_small_files
from dycoke_cli.models.files.tokenizer_trial import check_tokenizer
from dycoke_cli.models.prompts.chat_template import check_template
from dycoke_cli.models.reference import ModelRef

_PARTS = ("tokenizer", "video_processor", "chat_template", "apply_chat_template")


def load_processor(source: ModelRef, revision: str | None) -> Any:
    """Load the stock processor of a model; downloads missing files of a hub model.

    Args:
        source: the model.
        revision: commit of a hub model.

    Raises:
        ModelError: it can't be read, or accepts neither videos nor several images.
    """
    with explained(source, "its tokenizer and processor"):
        folder = Path(source.location) if source.local else small_files(source, revision)
        if not source.local:  # a folder's were checked when the model was found
            check_small_files(source.name, folder)
        if folder != BUNDLED_CHECKPOINT:
            check_tokenizer(source.name, folder / TOKENIZER)
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        alone = takes_images_only(processor)
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
    """Whether a processor has the argument `videos`.

    Older ones take frames as `images`. They have no chat template: the prompt is the question.
    """
    named = "videos" in inspect.signature(type(processor).__call__).parameters
    return named and not takes_images_only(processor)


def takes_images_only(processor: Any) -> bool:
    """Whether a processor supports images only, so that frames are passed as separate images."""
    return not hasattr(processor, "video_processor")
