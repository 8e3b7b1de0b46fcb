"""Prompts about a video: of families in the table, of others, and of one window of a video.

Outside the table, video and question are processed together every time, because it is unknown
which of the inputs depend on the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from dycoke_cli.errors import DycokeError, UsageError, VideoError
from dycoke_cli.models.catalog import ClipTokens, ModelRef
from dycoke_cli.models.devices import is_out_of_memory
from dycoke_cli.models.families import Family
from dycoke_cli.models.families.layout import Inputs
from dycoke_cli.models.files.hub import explained
from dycoke_cli.models.prompts.chat import (
    Turns,
    chat_text,
    check_plain,
    check_shows_video,
    text_ids,
    variables_of,
)
from dycoke_cli.models.prompts.stock_processor import (
    ClipLike,
    CollapsedTokenizer,
    OtherResizeError,
    as_video,
    collapsing,
    found_resize,
    frames_metadata,
    lengths_of,
    load_processor,
    processor_memory_limited,
    run_processor,
    without_data,
)
from dycoke_cli.models.resolve import family_in, read_config
from dycoke_cli.stock.quiet import quiet_libraries
from dycoke_cli.video.clip import Clip, Fit, FrameResize, FrameWindow, decoded_size

# Prompts about a video: the stock processor runs once, then each question needs only its text.


@dataclass(frozen=True, kw_only=True)
class VideoPrompt:
    """Parts that all prompts about one video share."""

    processor: Any  # the stock processor of the model
    frames: int  # number of encoded frames: pairs, where the model merges pairs
    tokens_per_frame: int  # N
    placeholders: int  # tokens of the prompt that are replaced by visual embeddings
    shown: str = ""  # text that the chat template writes for the video
    expanded: str = ""  # text that replaces it: placeholders, time stamps, separators
    # `[1, P]`, int64: token ids that the processor prepends to the whole text
    prefix: torch.Tensor = field(default_factory=partial(torch.empty, 1, 0, dtype=torch.int64))
    # output of the processor for the video, without token ids; pixels as uint8, neither rescaled
    # nor normalised
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    token_types: bool = False  # whether the model needs `mm_token_type_ids`
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
        """Token ids `[1, S]`, int64, of the prompt with a question; see the function."""
        return input_ids([self], question, history)


def input_ids(videos: Sequence[VideoPrompt], question: str, history: Turns = ()) -> torch.Tensor:
    """Token ids `[1, S]`, int64, of a prompt about one or more videos of one model.

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


def make_prompt(processor: Any, family: Family, config: Any, clip: ClipLike) -> VideoPrompt:
    """Run the stock processor on a video, and make the prompts' shared parts of its output."""
    frames = _padded(clip.frames, family.least_frames)
    times = _padded(np.array(clip.timestamps_s), len(frames)).tolist()
    size, resize = decoded_size(clip), getattr(clip, "resize", None)
    metadata = frames_metadata(size, times, lengths_of(clip))
    long_runs_of = ""
    with ExitStack() as stack:
        stack.enter_context(processor_memory_limited(frames.nbytes))
        if getattr(clip, "window", None) is None:
            video = stack.enter_context(as_video(frames, resize))
        else:
            video = stack.enter_context(without_data(len(frames), size, resize))
            long_runs_of = processor.tokenizer.convert_ids_to_tokens(family.token(config))
            stack.enter_context(collapsing(processor, long_runs_of))
        outputs = run_processor(processor, family, config, video, metadata)
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


def _padded(frames: np.ndarray, count: int) -> np.ndarray:
    """Frames `[F, ...]`, or their times, padded with the last one to a minimum count."""
    more = max(0, count - len(frames))
    return np.concatenate([frames, *[frames[-1:]] * more]) if more else frames


_TOKEN_ATTRIBUTES = ("video_token_id", "image_token_id", "video_token_index", "image_token_index")


@dataclass(frozen=True, kw_only=True)
class StockPrompt(VideoPrompt):
    """Prompt about one video whose frames the stock processor reads again for each question."""

    pictures: np.ndarray  # `[F, H, W, 3]`, uint8, RGB: the frames of the prompt
    times: Sequence[float]  # time of each frame in seconds
    lengths: tuple[float, float]  # of the video that they are from
    # Inputs of the latest question: an answer needs them several times (its token ids, its pixels,
    # the rest), and processing the frames takes seconds. More than one would hold pixels for each.
    _latest: dict[Any, Inputs] = field(default_factory=dict, compare=False)

    def stock_inputs(self, question: str, history: Turns = ()) -> Inputs:
        """Inputs of `generate()`: token ids `[1, S]`, and pixels normalised by the processor."""
        check_plain(self.processor, question, history, self.subtitles)
        key = (question, tuple(variables_of(question).items()), *history)
        if key not in self._latest:
            self._latest.clear()
            text = chat_text(self.processor, question, history, subtitles=self.subtitles)
            self._latest[key] = self._processed(text)
        return dict(self._latest[key])

    def input_ids(self, question: str, history: Turns = ()) -> torch.Tensor:
        """See `VideoPrompt.input_ids`."""
        return self.stock_inputs(question, history)["input_ids"]

    def _processed(self, text: str) -> Inputs:
        frames = torch.from_numpy(self.pictures).permute(0, 3, 1, 2)
        metadata = frames_metadata(self.pictures.shape[1:3], self.times, self.lengths)
        options: dict[str, Any] = {
            "return_tensors": "pt",
            "do_sample_frames": False,
            "return_metadata": True,
            "video_metadata": [metadata],
        }
        duration = self.times[-1] - self.times[0]
        # Omni models count positions in seconds, which they derive from `fps` and not from the
        # metadata. Without it they assume a fixed rate.
        if hasattr(self.processor, "load_audio_from_video") and duration > 0:
            options["fps"] = (len(self.times) - 1) / duration
        with processor_memory_limited(frames.nbytes):
            outputs = self.processor(text=[text], videos=[[frames]], videos_kwargs=options)
        # The metadata isn't a tensor, and the mask of a single prompt is all ones.
        unused = ("video_metadata", "attention_mask")
        return {
            name: torch.as_tensor(value) for name, value in outputs.items() if name not in unused
        }


def show(processor: Any, family: Family, config: Any, clip: ClipLike) -> VideoPrompt:
    """Make the prompt of a video: a `StockPrompt` for a family outside the table."""
    try:
        if not family.stock_inputs:
            return make_prompt(processor, family, config, clip)
        return _stock_prompt(processor, family, config, clip)
    except (DycokeError, OSError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        check_shows_video(processor)
        height, width = decoded_size(clip)
        raise VideoError(
            f"the model's processor ({type(processor).__name__}) refuses {len(clip.frames)} frames "
            f"of {width}x{height} pixels ({first_line(error)})"
        ) from error


def _stock_prompt(processor: Any, family: Family, config: Any, clip: ClipLike) -> StockPrompt:
    pictures = _padded(clip.frames, family.least_frames)
    prompt = StockPrompt(
        processor=processor,
        frames=1,
        tokens_per_frame=0,
        placeholders=0,
        subtitles="" if clip.subtitles is None else clip.subtitles.text,
        pictures=pictures,
        times=_padded(np.array(clip.timestamps_s), len(pictures)).tolist(),
        lengths=lengths_of(clip),
    )
    # Visual tokens are counted per frame if the layout is known, else as those of one frame.
    ids, token, frames = prompt.input_ids(""), family.token_id, 1
    if token is None:
        token = placeholder_of(processor, config, ids)
    else:
        frames = -(-len(pictures) // family.temporal_patch_size)
    if token is None:
        # Without a placeholder id, visual tokens are those that the video adds to the prompt.
        visual = ids.shape[1] - text_ids(processor, "").shape[1]
    else:
        visual = int((ids == token).sum())
    return replace(prompt, frames=frames, placeholders=visual, tokens_per_frame=visual // frames)


def placeholder_of(processor: Any, config: Any, input_ids: torch.Tensor) -> int | None:
    """Token id of the visual placeholder, in a prompt with a video and without other images.

    Args:
        input_ids: `[1, S]`, int64.

    Returns:
        The most frequent of the image and video token ids of processor and configuration; None if
        the prompt has none of them.
    """
    # Families use the video token or the image token, under several names; the most frequent one is
    # the placeholder, because a video has far more tokens than separators.
    owners = (config, processor, processor.tokenizer)
    candidates = {getattr(owner, name, None) for owner in owners for name in _TOKEN_ATTRIBUTES}
    counts = {token: int((input_ids == token).sum()) for token in candidates if type(token) is int}
    most = max(counts, key=lambda token: counts[token], default=None)
    return most if most is not None and counts[most] else None


def count_tokens(source: ModelRef, clip: ClipLike, revision: str | None = None) -> ClipTokens:
    """Count the tokens of a clip, its text included, with the stock processor; needs no weights."""
    config, folder = read_config(source, revision)
    family = family_in(source, config)
    with quiet_libraries(), explained(source, "its processor"):
        processor = load_processor(source, folder.name)
        prompt = show(processor, family, config, clip)
        alone = processor.tokenizer(chat_text(processor, "", videos=0))["input_ids"]
        added = prompt.input_ids("").shape[1] - len(alone)
    return replace(prompt.tokens, text=max(0, added - prompt.visual))


def first_line(error: BaseException) -> str:
    """Text of a library's error, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


# The size at which a model reads frames, so that no larger ones are kept.


def fit_of(processor: Any, family: Family, config: Any) -> Fit:
    """Resize of a model's stock processor.

    Frames are kept as decoded where that takes less memory, and for families outside the table,
    whose processors run in unknown ways.
    """
    chat = "" if family.stock_inputs else chat_text(processor, "")

    def fit(frames: int, height: int, width: int) -> FrameResize | None:
        if family.stock_inputs:
            return None
        frames = max(frames, family.least_frames)
        metadata = frames_metadata((height, width), [0.0] * frames, (1.0, 1.0))
        resize = found_resize(
            lambda video: run_processor(processor, family, config, video, metadata, chat),
            frames,
            height,
            width,
        )
        enlarges = resize is not None and np.prod(resize.size) > height * width
        return None if enlarges else resize

    return fit


def fitted(clip: Clip, fit: Fit) -> Clip:
    """A clip whose frames are as decoded, at the size that a model reads."""
    if clip.resize is not None:
        return clip
    count, height, width = clip.frames.shape[:3]
    resize = fit(count, height, width)
    if resize is None:
        return clip
    return replace(clip, frames=np.stack([*map(resize, clip.frames)]), resize=resize)


# Pixels of one window of a video, as the stock processor makes them of the whole.


def window_prompt(
    whole: VideoPrompt, family: Family, config: Any, window: FrameWindow
) -> VideoPrompt:
    """The prompt of a video with the pixels of one window, and with its number of frames."""
    frames = _padded(window.frames, family.least_frames)
    try:
        outputs = _processed(whole.processor, family, config, frames, window.resize)
    except OtherResizeError:
        # A processor that limits the pixels of a clip makes larger frames of so few. Given frames
        # of the size that they have in the whole video, it leaves them as they are.
        outputs = _processed(whole.processor, family, config, frames, None)
    inputs = {name: torch.as_tensor(outputs[name]) for name in whole.inputs}
    count = family.pixels.frames(inputs)
    ids = torch.as_tensor(outputs["input_ids"])
    placeholders = int((ids == family.token(config)).sum())
    if (placeholders - family.tail) // count != whole.tokens_per_frame:
        raise UsageError(
            "the model reads few frames of this video at another size than many, so it can't be "
            "read in windows; use fewer frames, without --video-tokens"
        )
    return replace(whole, inputs=inputs, frames=count, placeholders=placeholders)


def _processed(
    processor: Any, family: Family, config: Any, frames: np.ndarray, resize: FrameResize | None
) -> dict[str, Any]:
    height, width = frames.shape[1:3] if resize is None else resize.source
    # Pixels don't depend on times, which are in the text of the whole prompt.
    times = [float(number) for number in range(len(frames))]
    metadata = frames_metadata((height, width), times, (len(frames), len(frames)))
    with processor_memory_limited(frames.nbytes), as_video(frames, resize) as video:
        return run_processor(processor, family, config, video, metadata)
