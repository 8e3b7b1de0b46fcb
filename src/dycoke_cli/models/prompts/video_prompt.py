"""Prompts about a video: the stock processor runs once, then each question needs only its text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.devices import is_out_of_memory
from dycoke_cli.models.families import Family
from dycoke_cli.models.prompts.chat_template import render
from dycoke_cli.models.prompts.collapsed_text import CollapsedTokenizer, collapsing
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.models.prompts.stock_resize import as_video, without_data
from dycoke_cli.models.prompts.tool_turns import messages_of, tools_of, tools_text
from dycoke_cli.processes.process_limits import memory_limited
from dycoke_cli.video.kept_frames import FrameResize, decoded_size

if TYPE_CHECKING:
    from dycoke_cli.video.clip import Audio
    from dycoke_cli.video.subtitles import Subtitles

Turns = Sequence[tuple[str, str]]
"""Pairs of question and answer, oldest first; each may be a `ToolTurn`."""

# Processors compute time stamps as frame number / fps. With this nominal rate, a frame number is
# its time in milliseconds, whatever the spacing of the frames.
FRAMES_PER_SECOND = 1000

_FRAME_S = 0.04

# Memory limit of a processor: enough for 32 frames at the largest size of a published processor.
# Larger frames exist as several copies, some of them in float32.
_PROCESSOR_BYTES = 1 << 30
_PROCESSOR_BYTES_PER_BYTE = 16

ONE_VIDEO = "the model's chat template shows one video at a time; `dycoke batch` asks about each"


class Frames(Protocol):
    """Video that a prompt is made of, such as `dycoke_cli.video.Clip`.

    Frames may be resized already, as the processor would: then a `resize` says how.
    """

    @property
    def frames(self) -> np.ndarray:
        """`[F, H, W, 3]`, uint8, RGB."""

    @property
    def timestamps_s(self) -> tuple[float, ...]:
        """Presentation time of each frame, seconds."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user, as sentences."""

    @property
    def subtitles(self) -> Subtitles | None:
        """Subtitles that are part of the prompt."""

    @property
    def audio(self) -> Audio | None:
        """Soundtrack, for a model with an audio encoder."""


@dataclass(frozen=True)
class Length:
    """Length of a video and of the part that its frames are from.

    Args:
        duration_s: of the whole video, in seconds.
        part_s: length of the part (`--start`, `--end`), in seconds.
    """

    duration_s: float
    part_s: float

    @classmethod
    def of(cls, clip: Frames) -> Length:
        """That of the file, where the clip is of one; else up to the end of its last frame.

        Args:
            clip: frames, at least one, with their times; a `Clip` also knows its file.
        """
        times, info = clip.timestamps_s, getattr(clip, "info", None)
        part = getattr(clip, "part_s", None)
        known = None if info is None else info.duration_s
        # Synthetic frames, and files that don't say: the last frame lasts as long as one of a film.
        duration = times[-1] + _FRAME_S if known is None or known <= times[-1] else known
        return cls(duration, duration if part is None else max(part[1] - part[0], _FRAME_S))


@dataclass(frozen=True)
class ShownFrames:
    """Synthetic video for trials of a processor or model."""

    frames: np.ndarray
    timestamps_s: tuple[float, ...]
    warnings: tuple[str, ...] = ()
    subtitles: None = None
    audio: None = None
    resize: FrameResize | None = None

    @classmethod
    def blank(
        cls, frames: int, height: int, width: int, resize: FrameResize | None = None
    ) -> ShownFrames:
        """Black frames of a height and width, one per second; resized, if `resize` is given."""
        size = (height, width) if resize is None else resize.size
        times = tuple(map(float, range(frames)))
        return cls(np.zeros((frames, *size, 3), np.uint8), times, resize=resize)


@dataclass(frozen=True)
class VideoPrompt:
    """Parts that all prompts about one video share.

    Args:
        processor: the stock processor of the model.
        shown: text that the chat template writes for the video.
        expanded: text that replaces it: placeholders, time stamps, separators.
        prefix: `[1, P]`, int64: token ids that the processor prepends to the whole text.
        inputs: output of the processor for the video, without token ids; pixels as uint8, neither
            rescaled nor normalised.
        frames: number of encoded frames: pairs, where the model merges pairs.
        placeholders: tokens of the prompt that are replaced by visual embeddings.
        tokens_per_frame: N.
        token_types: whether the model needs `mm_token_type_ids`.
        subtitles: text between the video and the first question.
        long_runs_of: the placeholder, where runs of it are very long; "" where they aren't.
    """

    processor: Any
    shown: str
    expanded: str
    prefix: torch.Tensor
    inputs: dict[str, torch.Tensor]
    frames: int
    placeholders: int
    tokens_per_frame: int
    token_types: bool
    subtitles: str = ""
    long_runs_of: str = ""

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
    chat = _chat(first.processor, question, history, videos=len(videos), subtitles=first.subtitles)
    # The template's text for a video is replaced once per video, from the front: a question can't
    # contain it, because `check_plain` has refused the video token.
    before, *after = chat.split(first.shown, len(videos))
    if len(after) < len(videos):
        raise UsageError(ONE_VIDEO)
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
    """Run the stock processor on a video, and make the prompts' shared parts of its output.

    Args:
        processor: of the model.
        family: of the model.
        config: of the model.
        clip: the frames with their times. Of one that was handed on in windows the prompt has no
            pixels: tensors without data are in their place.
    """
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


def empty_chat(processor: Any) -> str:
    """The prompt about a video without a question, of the model's chat template."""
    return _chat(processor, "")


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


def text_ids(processor: Any, question: str, history: Turns = ()) -> torch.Tensor:
    """Token ids `[1, S]`, int64, of a prompt without a video.

    Args:
        processor: of the model.
        question: plain text.
        history: earlier questions, with their answers.

    Raises:
        UsageError: a text contains a special token of the model.
    """
    check_plain(processor, question, history)
    chat = _chat(processor, question, history, videos=0)
    return processor(text=[chat], return_tensors="pt")["input_ids"]


@contextmanager
def processor_memory_limited(frames_bytes: int) -> Iterator[None]:
    """Limit the memory of a processor within the block.

    Its settings, which come with the model, determine the size of resized frames.

    Args:
        frames_bytes: size of the frames that it will process.

    Raises:
        ModelError: the limit is exceeded.
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


def _padded(clip: Frames, count: int) -> tuple[np.ndarray, list[float]]:
    """Frames and times, padded with the last one to a minimum count."""
    frames, times = clip.frames, list(clip.timestamps_s)
    while len(frames) < count:
        frames, times = np.concatenate([frames, frames[-1:]]), [*times, times[-1]]
    return frames, times


def frames_metadata(
    size: tuple[int, int], times: Sequence[float], length: Length
) -> dict[str, Any]:
    """Video metadata from which processors compute time stamps, durations and rates.

    As in the families' own code, times and `duration` are those of the whole file (SmolVLM's and
    Qwen3-VL's sampling of a part keeps both), while `total_num_frames` is that of the part:
    qwen-vl-utils divides by it for the rate of the sampled frames, from which Qwen2.5-VL derives
    positions.

    Args:
        size: height and width of the frames, as decoded.
        times: of each frame, in seconds from the video's first frame.
        length: of the video that they are from.
    """

    def number(seconds: float) -> int:
        return round(FRAMES_PER_SECOND * seconds)

    return {
        "total_num_frames": max(number(length.part_s), 1),
        "fps": float(FRAMES_PER_SECOND),
        "duration": number(length.duration_s) / FRAMES_PER_SECOND,
        "frames_indices": [number(time) for time in times],
        "height": size[0],
        "width": size[1],
    }


def check_plain(processor: Any, question: str, history: Turns, subtitles: str = "") -> None:
    """Check that no text contains a special token of the model.

    The tokenizer would encode it as that token, so a text could end its turn or add a placeholder.

    Raises:
        UsageError: one does.
    """
    turns = [text for turn in history for text in turn]
    texts = [subtitles, question, *turns, tools_text(question)]
    # Some processors replace the text of these tokens, although the tokenizer doesn't list them as
    # special.
    own = [getattr(processor, name, None) for name in ("video_token", "image_token")]
    own = [None if token is None else str(token) for token in own]
    special = next(
        (
            token
            for token in (*processor.tokenizer.all_special_tokens, *filter(None, own))
            if any(token in text for text in texts)
        ),
        None,
    )
    if special is not None and special in subtitles:
        raise UsageError(
            f"the subtitles contain {special!r}, which has a meaning of its own to the model; "
            "take it out of them, or leave out --subtitles"
        )
    if special is not None:
        raise UsageError(
            f"the question contains {special!r}, which has a meaning of its own to the model; "
            "leave it out"
        )


def _chat(
    processor: Any,
    question: str,
    history: Turns = (),
    *,
    videos: int = 1,
    subtitles: str = "",
) -> str:
    """Conversation rendered by the stock chat template."""
    conversation = conversation_of(question, history, videos, subtitles)
    return render(processor, conversation, tools=tools_of(question))


def conversation_of(
    question: str, history: Turns, videos: int, subtitles: str
) -> list[dict[str, Any]]:
    """Messages for `apply_chat_template`: history and question.

    The first turn contains the videos, then the subtitles, then its question.
    """
    conversation: list[dict[str, Any]] = []
    for earlier, answer in history:
        conversation += [*messages_of("user", earlier), *messages_of("assistant", answer)]
    conversation += messages_of("user", question)
    # Video and subtitles in the first turn are a common prefix of all prompts of a chat, which the
    # prefix cache reuses.
    conversation[0]["content"][0]["text"] = subtitles + conversation[0]["content"][0]["text"]
    conversation[0]["content"][:0] = [{"type": "video"}] * videos
    return conversation
