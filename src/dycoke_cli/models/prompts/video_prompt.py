"""The prompts of one video: made by the stock processor once, then one text per question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.devices import is_out_of_memory
from dycoke_cli.models.families import Family
from dycoke_cli.models.prompts.chat_template import render
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.processes.process_limits import memory_limited

if TYPE_CHECKING:
    from dycoke_cli.video.clip import Audio
    from dycoke_cli.video.subtitles import Subtitles

Turns = Sequence[tuple[str, str]]
"""Questions with their answers, in the order in which they were asked."""

# Time stamps go to the processor as frame numbers of a video with this rate.
FRAMES_PER_SECOND = 1000

# 32 frames that become as large as the largest of published processors; and those that are larger
# than that are copied some times, as float32 as well.
_PROCESSOR_BYTES = 1 << 30
_PROCESSOR_BYTES_PER_BYTE = 16

ONE_VIDEO = "the model's chat template shows one video at a time; `dycoke batch` asks about each"


class Frames(Protocol):
    """What is needed of a video; `dycoke_cli.video.Clip` has it."""

    @property
    def frames(self) -> np.ndarray:
        """`[F, H, W, 3]`, uint8, RGB."""

    @property
    def timestamps_s(self) -> tuple[float, ...]:
        """True time of each frame, seconds."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for a person."""

    @property
    def subtitles(self) -> Subtitles | None:
        """What is said meanwhile, where that is part of the prompt."""

    @property
    def audio(self) -> Audio | None:
        """What is heard meanwhile, where the model takes it."""


@dataclass(frozen=True)
class ShownFrames:
    """A video that is made up, to ask a processor or a model about its layout."""

    frames: np.ndarray
    timestamps_s: tuple[float, ...]
    warnings: tuple[str, ...] = ()
    subtitles: None = None
    audio: None = None

    @classmethod
    def blank(cls, frames: int, height: int, width: int) -> ShownFrames:
        """So many frames that show nothing, a second apart."""
        return cls(np.zeros((frames, height, width, 3), np.uint8), tuple(map(float, range(frames))))


@dataclass(frozen=True)
class VideoPrompt:
    """What all prompts about one video share.

    Args:
        processor: the stock processor of the model.
        shown: how the chat template writes the video.
        expanded: the text in place of the video: placeholders, time stamps, separators.
        prefix: `[1, P]`, int64: what the processor puts before the whole text.
        inputs: what the processor made of the video: the tensors that the model takes beside token
            ids; pixels as uint8, neither rescaled nor normalised.
        frames: of the video as the model sees them: pairs, where it merges pairs.
        placeholders: tokens of the prompt that the vision side fills.
        tokens_per_frame: N.
        typed: whether the model is told which tokens are visual (`mm_token_type_ids`).
        subtitles: what stands between the video and the first question.
    """

    processor: Any
    shown: str
    expanded: str
    prefix: torch.Tensor
    inputs: dict[str, torch.Tensor]
    frames: int
    placeholders: int
    tokens_per_frame: int
    typed: bool
    subtitles: str = ""

    @property
    def visual(self) -> int:
        """V: visual tokens before any compression."""
        return self.tokens.visual

    @property
    def tokens(self) -> ClipTokens:
        """The visual tokens before any compression."""
        return ClipTokens(self.frames, self.tokens_per_frame)

    def input_ids(self, question: str, history: Turns = ()) -> torch.Tensor:
        """The token ids `[1, S]`, int64, of the prompt with this question.

        Args:
            question: plain text.
            history: what was asked about the video before, and what was answered.

        Raises:
            UsageError: a text contains a special token of the model.
        """
        return input_ids([self], question, history)

    def beside(self, ids: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """The model inputs beside the token ids, without pixels: those of `names` that there are.

        Args:
            ids: `[1, S]`, int64.
            names: of `inputs`.
        """
        return beside([self], ids, names)


def input_ids(videos: Sequence[VideoPrompt], question: str, history: Turns = ()) -> torch.Tensor:
    """The token ids `[1, S]`, int64, of the prompt about one video, or several of one model.

    Args:
        videos: in the order in which they are shown.
        question: plain text.
        history: what was asked about them before, and what was answered.

    Raises:
        UsageError: a text contains a special token of the model, or its chat template doesn't show
            several videos.
    """
    first = videos[0]
    check_plain(first.processor, question, history, first.subtitles)
    chat = _chat(first.processor, question, history, videos=len(videos), subtitles=first.subtitles)
    before, *behind = chat.split(first.shown, len(videos))
    if len(behind) < len(videos):
        raise UsageError(ONE_VIDEO)
    shown = (video.expanded + text for video, text in zip(videos, behind, strict=True))
    ids = first.processor.tokenizer([before + "".join(shown)], return_tensors="pt")["input_ids"]
    return torch.cat([first.prefix, ids], dim=1)


def beside(
    videos: Sequence[VideoPrompt], ids: torch.Tensor, names: Sequence[str]
) -> dict[str, torch.Tensor]:
    """The model inputs beside the token ids of a prompt about them; see `VideoPrompt.beside`."""
    first = videos[0]
    extra_inputs = {
        name: torch.cat([video.inputs[name] for video in videos])
        for name in names
        if name in first.inputs
    }
    if first.typed:
        types = first.processor.create_mm_token_type_ids(ids.tolist())
        extra_inputs["mm_token_type_ids"] = torch.tensor(types)
    return extra_inputs


def make_prompt(processor: Any, family: Family, config: Any, clip: Frames) -> VideoPrompt:
    """Run the stock processor on a video.

    Args:
        processor: of the model.
        family: of the model.
        config: of the model.
        clip: the frames with their times.
    """
    frames, times = _at_least(clip, family.least_frames)
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    chat = _chat(processor, "")
    options = {
        "return_tensors": "pt",
        "do_sample_frames": False,
        "video_metadata": [frames_metadata(frames, times)],
        "do_rescale": False,
        "do_normalize": False,
        **family.video_options(config, processor.video_processor),
    }
    with memory_of_processor(video):
        outputs = dict(
            processor(
                text=[chat],
                videos=[[video]],
                return_text_replacement_offsets=True,
                videos_kwargs=options,
            )
        )
    [[replaced]] = outputs.pop("text_replacement_offsets")
    for name in ("attention_mask", "video_metadata"):
        outputs.pop(name, None)
    # Cosmos 3 Edge needs them, but makes them only when it is asked to.
    typed = outputs.pop("mm_token_type_ids", None) is not None or bool(family.rope)
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
        typed=typed,
    )
    prompt = replace(prompt, prefix=ids[:, : ids.shape[1] - prompt.input_ids("").shape[1]])
    assert torch.equal(prompt.input_ids(""), ids), "a prompt differs from the processor's"
    return prompt if clip.subtitles is None else replace(prompt, subtitles=clip.subtitles.text)


def text_ids(processor: Any, question: str, history: Turns = ()) -> torch.Tensor:
    """The token ids `[1, S]`, int64, of a prompt without any video.

    Args:
        processor: of the model.
        question: plain text.
        history: what was asked before, and what was answered.

    Raises:
        UsageError: a text contains a special token of the model.
    """
    check_plain(processor, question, history)
    chat = _chat(processor, question, history, videos=0)
    return processor(text=[chat], return_tensors="pt")["input_ids"]


@contextmanager
def memory_of_processor(video: torch.Tensor) -> Iterator[None]:
    """Limit what a processor makes of a video: its files say how large frames become.

    Raises:
        ModelError: they become too large.
    """
    try:
        with memory_limited(_PROCESSOR_BYTES + _PROCESSOR_BYTES_PER_BYTE * video.nbytes):
            yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            "the model's processor makes more of the frames than this machine should give it; its "
            "processor_config.json is damaged, or use fewer --frames"
        ) from error


def _at_least(clip: Frames, count: int) -> tuple[np.ndarray, list[float]]:
    """Frames and times, the last one again where there are too few."""
    frames, times = clip.frames, list(clip.timestamps_s)
    while len(frames) < count:
        frames, times = np.concatenate([frames, frames[-1:]]), [*times, times[-1]]
    return frames, times


def frames_metadata(frames: np.ndarray, times: Sequence[float]) -> dict[str, Any]:
    """What processors that write time stamps read them from."""
    numbers = [round(FRAMES_PER_SECOND * time) for time in times]
    step = (numbers[-1] - numbers[0]) / (len(numbers) - 1) if len(numbers) > 1 else 0
    length = step * len(numbers) or FRAMES_PER_SECOND
    return {
        "total_num_frames": max(round(length), 1),
        "fps": float(FRAMES_PER_SECOND),
        "duration": length / FRAMES_PER_SECOND,
        "frames_indices": numbers,
        "height": frames.shape[1],
        "width": frames.shape[2],
    }


def check_plain(processor: Any, question: str, history: Turns, subtitles: str = "") -> None:
    """Check that no text has a special token of the model.

    Raises:
        UsageError: one has.
    """
    texts = [subtitles, question, *(text for turn in history for text in turn)]
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
    """The conversation as the stock template writes it."""
    return render(processor, conversation_of(question, history, videos, subtitles))


def conversation_of(
    question: str, history: Turns, videos: int, subtitles: str
) -> list[dict[str, Any]]:
    """A question and what went before it, as `apply_chat_template` takes them.

    The videos stand in the first turn, and the subtitles behind them, before the question.
    """
    conversation: list[dict[str, Any]] = []
    for earlier, answer in history:
        conversation += [_turn("user", earlier), _turn("assistant", answer)]
    conversation.append(_turn("user", question))
    conversation[0]["content"][0]["text"] = subtitles + conversation[0]["content"][0]["text"]
    conversation[0]["content"][:0] = [{"type": "video"}] * videos
    return conversation


def _turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}
