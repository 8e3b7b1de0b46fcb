"""Loads and runs the stock processor of a model: tokenizer, chat template, frames to pixels.

Its files come from third parties: they are checked first, and its memory is limited.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from dycoke_cli.models.devices import is_out_of_memory
from dycoke_cli.models.families import Family
from dycoke_cli.models.files.hub import small_files
from dycoke_cli.models.files.read_errors import explained
from dycoke_cli.models.files.small_files import TOKENIZER, check_small_files
from dycoke_cli.models.files.tokenizer_trial import check_tokenizer
from dycoke_cli.models.prompts.chat_template import check_template
from dycoke_cli.models.prompts.chat_text import chat_text
from dycoke_cli.models.reference import ModelRef
from dycoke_cli.processes.process_limits import memory_limited

_PARTS = ("tokenizer", "video_processor", "chat_template", "apply_chat_template")
# Memory limit of a processor: enough for 32 frames at the largest size of a published processor.
# Larger frames exist as several copies, some of them in float32.
_PROCESSOR_BYTES = 1 << 30
_PROCESSOR_BYTES_PER_BYTE = 16


def load_processor(source: ModelRef, revision: str | None) -> Any:
    """Load the stock processor of a model; downloads missing files of a hub model."""
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


def empty_chat(processor: Any) -> str:
    """The prompt about a video without a question, of the model's chat template."""
    return chat_text(processor, "")


def run_processor(
    processor: Any,
    family: Family,
    config: Any,
    chat: str,
    video: torch.Tensor,
    metadata: dict[str, Any],
) -> dict[str, Any]:
    """Run the stock processor on a video and a prompt without a question.

    Args:
        processor: of the model.
        family: of the model.
        config: of the model.
        chat: see `empty_chat`.
        video: `[F, 3, H, W]`, uint8.
        metadata: of the video.
    """
    options = {
        "return_tensors": "pt",
        # Frames are sampled by us, and their true times are in the metadata.
        "do_sample_frames": False,
        "video_metadata": [metadata],
        # Pixels stay uint8, a quarter of the memory, until `pixels.normalised` before encoding.
        "do_rescale": False,
        "do_normalize": False,
        # Last, so that a family can override the options above.
        **family.video_options(config, processor.video_processor),
    }
    return dict(
        processor(
            text=[chat],
            videos=[[video]],
            return_text_replacement_offsets=True,
            videos_kwargs=options,
        )
    )


@contextmanager
def processor_memory_limited(frames_bytes: int) -> Iterator[None]:
    """Limit the memory of a processor within the block.

    Its settings, which come with the model, determine the size of resized frames.
    """
    try:
        with memory_limited(_PROCESSOR_BYTES + _PROCESSOR_BYTES_PER_BYTE * frames_bytes):
            yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            "the model's processor makes more of the frames than this machine should give it; its "
            "processor_config.json is damaged, or use fewer --frames"
        ) from error
