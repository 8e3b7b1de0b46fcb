"""Prompts about a video: the stock processor runs once, then each question needs only its text."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Family
from dycoke_cli.models.prompts.chat_text import Turns, chat_text, check_plain
from dycoke_cli.models.prompts.collapsed_text import CollapsedTokenizer, collapsing
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.models.prompts.prompt_frames import Frames, Length, frames_metadata
from dycoke_cli.models.prompts.stock_processor import (
    empty_chat,
    processor_memory_limited,
    run_processor,
)
from dycoke_cli.models.prompts.stock_resize import as_video, without_data
from dycoke_cli.video.kept_frames import decoded_size


@dataclass(frozen=True)
class VideoPrompt:
    """Parts that all prompts about one video share."""

    processor: Any  # the stock processor of the model
    shown: str  # text that the chat template writes for the video
    expanded: str  # text that replaces it: placeholders, time stamps, separators
    prefix: torch.Tensor  # `[1, P]`, int64: token ids that the processor prepends to the whole text
    # output of the processor for the video, without token ids; pixels as uint8, neither rescaled
    # nor normalised
    inputs: dict[str, torch.Tensor]
    frames: int  # number of encoded frames: pairs, where the model merges pairs
    placeholders: int  # tokens of the prompt that are replaced by visual embeddings
    tokens_per_frame: int  # N
    token_types: bool  # whether the model needs `mm_token_type_ids`
    subtitles: str = ""  # text between the video and the first question
    long_runs_of: str = ""  # the placeholder, where runs of it are very long; "" where they aren't

    @property
    def tokenizer(self) -> Any:
        """The stock tokenizer, or one that takes long runs of placeholders."""
        tokenizer = self.processor.tokenizer
        return CollapsedTokenizer(tokenizer, self.long_runs_of) if self.long_runs_of else tokenizer

    @property
    def visual(self) -> int:
        """V: number of visual tokens before any compression."""
        return self.tokens.visual

    @property
    def tokens(self) -> ClipTokens:
        """Visual tokens before any compression."""
        return ClipTokens(self.frames, self.tokens_per_frame)

    def input_ids(self, question: str, history: Turns = ()) -> torch.Tensor:
        """Token ids `[1, S]`, int64, of the prompt with a question.

        Args:
            question: plain text.
            history: earlier questions about the video, with their answers.

        Raises:
            UsageError: a text contains a special token of the model.
        """
        return input_ids([self], question, history)

    def extra_inputs(self, ids: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Model inputs other than token ids and pixels: see the function `extra_inputs`.

        Args:
            ids: `[1, S]`, int64.
            names: of `inputs`.
        """
        return extra_inputs([self], ids, names)


def input_ids(videos: Sequence[VideoPrompt], question: str, history: Turns = ()) -> torch.Tensor:
    """Token ids `[1, S]`, int64, of a prompt about one or more videos of one model.

    Args:
        videos: in the order of the prompt.
        question: plain text.
        history: earlier questions about them, with their answers.

    Raises:
        UsageError: a text contains a special token of the model, or its chat template doesn't show
            several videos.
    """
    first = videos[0]
    check_plain(first.processor, question, history, first.subtitles)
    chat = chat_text(
        first.processor, question, history, videos=len(videos), subtitles=first.subtitles
    )
    # The template's text for a video is replaced once per video, from the front: a question can't
    # contain it, because `check_plain` has refused the video token.
    before, *after = chat.split(first.shown, len(videos))
    if len(after) < len(videos):
        raise UsageError(
            "the model's chat template shows one video at a time; `dycoke batch` asks about each"
        )
    expanded = (video.expanded + text for video, text in zip(videos, after, strict=True))
    ids = first.tokenizer([before + "".join(expanded)], return_tensors="pt")["input_ids"]
    return torch.cat([first.prefix, ids], dim=1)


def extra_inputs(
    videos: Sequence[VideoPrompt], ids: torch.Tensor, names: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Model inputs of a prompt other than token ids and pixels.

    Args:
        videos: of the prompt, in order.
        ids: `[1, S]`, int64: of the prompt.
        names: of the processor's outputs; those that it doesn't have are skipped.

    Returns:
        By name: the tensors of all videos, concatenated, and `mm_token_type_ids` if needed.
    """
    first = videos[0]
    inputs = {
        name: torch.cat([video.inputs[name] for video in videos])
        for name in names
        if name in first.inputs
    }
    if first.token_types:
        types = first.processor.create_mm_token_type_ids(ids.tolist())
        inputs["mm_token_type_ids"] = torch.tensor(types)
    return inputs


def make_prompt(processor: Any, family: Family, config: Any, clip: Frames) -> VideoPrompt:
    """Run the stock processor on a video, and make the prompts' shared parts of its output."""
    frames, times = _padded(clip, family.least_frames)
    size, resize = decoded_size(clip), getattr(clip, "resize", None)
    metadata = frames_metadata(size, times, Length.of(clip))
    long_runs_of = ""
    with ExitStack() as stack:
        stack.enter_context(processor_memory_limited(frames.nbytes))
        if getattr(clip, "window", None) is None:
            video = stack.enter_context(as_video(frames, resize))
        else:
            video = stack.enter_context(without_data(len(frames), size, resize))
            long_runs_of = processor.tokenizer.convert_ids_to_tokens(family.token(config))
            stack.enter_context(collapsing(processor, long_runs_of))
        outputs = run_processor(processor, family, config, empty_chat(processor), video, metadata)
    [[replaced]] = outputs.pop("text_replacement_offsets")
    for name in ("attention_mask", "video_metadata"):
        outputs.pop(name, None)
    # Families with grid positions compute them from the token types. Cosmos 3 Edge is one, but its
    # processor returns the types only on request.
    token_types = outputs.pop("mm_token_type_ids", None) is not None or bool(family.rope)
    ids = torch.as_tensor(outputs.pop("input_ids"))
    inputs = {name: torch.as_tensor(value) for name, value in outputs.items()}
    count = family.pixels.frames(inputs)
    placeholders = int((ids == family.token(config)).sum())
    prompt = VideoPrompt(
        processor=processor,
        shown=replaced["text"],
        expanded=replaced["replacement"],
        prefix=ids[:, :0],
        inputs=inputs,
        frames=count,
        placeholders=placeholders,
        tokens_per_frame=(placeholders - family.tail) // count,
        token_types=token_types,
        long_runs_of=long_runs_of,
    )
    # The tokenizer alone doesn't add what the processor puts first (a second start token, in some
    # families): what is missing at the front is the prefix. The assertion rules out that anything
    # is missing elsewhere.
    prompt = replace(prompt, prefix=ids[:, : ids.shape[1] - prompt.input_ids("").shape[1]])
    assert torch.equal(prompt.input_ids(""), ids), "a prompt differs from the processor's"
    return prompt if clip.subtitles is None else replace(prompt, subtitles=clip.subtitles.text)


def _padded(clip: Frames, count: int) -> tuple[np.ndarray, list[float]]:
    """Frames and times, padded with the last one to a minimum count."""
    frames, times = clip.frames, list(clip.timestamps_s)
    while len(frames) < count:
        frames, times = np.concatenate([frames, frames[-1:]]), [*times, times[-1]]
    return frames, times
