"""Loads and runs the stock processor of a model: text to tokens, frames to resized pixels.

Its files come from third parties: they are checked first, and the size of what it makes is limited.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate, pad
from torch.overrides import TorchFunctionMode
from transformers import AutoProcessor, BatchEncoding

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT, ModelRef
from dycoke_cli.models.devices import is_out_of_memory
from dycoke_cli.models.families import Family
from dycoke_cli.models.files.hub import explained, model_folder
from dycoke_cli.models.files.small_files import TOKENIZER, check_small_files, check_tokenizer
from dycoke_cli.models.prompts.chat import chat_text, check_template
from dycoke_cli.video.clip import Clip, FrameResize
from dycoke_cli.video.limits import check_clip

# Most bytes of resized frames: enough for 32 at the largest size of a published processor.
_PROCESSOR_BYTES = 1 << 30
_PROCESSOR_BYTES_PER_BYTE = 16


def load_processor(source: ModelRef, revision: str | None) -> Any:
    """Load the stock processor of a model; downloads missing files of a hub model."""
    with explained(source, "its tokenizer and processor"):
        folder = model_folder(source, revision)
        if not source.local:  # a folder's were checked when the model was found
            check_small_files(source.name, folder)
        if folder != BUNDLED_CHECKPOINT:
            check_tokenizer(source.name, folder / TOKENIZER)
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        for part in ("tokenizer", "video_processor", "chat_template", "apply_chat_template"):
            if getattr(processor, part, None) is None:
                raise ModelError(
                    f"{source.name} can't be shown a video: its processor "
                    f"({type(processor).__name__}) has no {part}"
                )
        check_template(processor)
    return processor


def run_processor(
    processor: Any,
    family: Family,
    config: Any,
    video: torch.Tensor,
    metadata: dict[str, Any],
    chat: str | None = None,
) -> dict[str, Any]:
    """Run the stock processor on a video and a prompt without a question.

    Args:
        video: `[F, 3, H, W]`, uint8.
        chat: the prompt; None has the chat template write it.
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
            text=[chat_text(processor, "") if chat is None else chat],
            videos=[[video]],
            return_text_replacement_offsets=True,
            videos_kwargs=options,
        )
    )


@contextmanager
def processor_memory_limited(frames_bytes: int) -> Iterator[None]:
    """Limit the frames that a processor makes within the block.

    Its settings, which come with the model, determine their size.
    """
    try:
        with _Bounded(_PROCESSOR_BYTES + _PROCESSOR_BYTES_PER_BYTE * frames_bytes):
            yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            "the model's processor makes more of the frames than this machine should give it; its "
            "processor_config.json is damaged, or use fewer frames"
        ) from error


# Frames that a prompt is made of, and the metadata by which a processor times them.


# Processors compute time stamps as frame number / fps. With this nominal rate, a frame number is
# its time in milliseconds, whatever the spacing of the frames.
FRAMES_PER_SECOND = 1000

_FRAME_S = 0.04


@dataclass(frozen=True)
class ShownFrames:
    """Synthetic video for trials of a processor or model."""

    frames: np.ndarray
    timestamps_s: tuple[float, ...]
    warnings: tuple[str, ...] = ()
    subtitles: None = None
    resize: FrameResize | None = None

    @classmethod
    def blank(cls, frames: int, height: int, width: int) -> ShownFrames:
        """Black frames of a height and width, one per second."""
        check_clip("the video", (width, height), frames, by_rate=False)
        return cls(np.zeros((frames, height, width, 3), np.uint8), tuple(map(float, range(frames))))


ClipLike = Clip | ShownFrames
"""Video that a prompt is made of; resized frames have a `resize`, which says how."""


def lengths_of(clip: ClipLike) -> tuple[float, float]:
    """Seconds of a whole video, and of the part that its frames are from (`--start`, `--end`)."""
    times, info = clip.timestamps_s, getattr(clip, "info", None)
    part = getattr(clip, "part_s", None)
    known = None if info is None else info.duration_s
    # Synthetic frames, and files that don't say: the last frame lasts as long as one of a film.
    duration = times[-1] + _FRAME_S if known is None or known <= times[-1] else known
    return duration, duration if part is None else max(part[1] - part[0], _FRAME_S)


def frames_metadata(
    size: tuple[int, int], times: Sequence[float], lengths: tuple[float, float]
) -> dict[str, Any]:
    """Video metadata from which processors compute time stamps, durations and rates.

    As in the families' own code, times and `duration` are those of the whole file (SmolVLM's and
    Qwen3-VL's sampling of a part keeps both), while `total_num_frames` is that of the part:
    qwen-vl-utils divides by it for the rate of the sampled frames, from which Qwen2.5-VL derives
    positions.

    Args:
        times: of each frame, in seconds from the video's first frame.
        lengths: see `lengths_of`.
    """

    def number(seconds: float) -> int:
        return round(FRAMES_PER_SECOND * seconds)

    return {
        "total_num_frames": max(number(lengths[1]), 1),
        "fps": float(FRAMES_PER_SECOND),
        "duration": number(lengths[0]) / FRAMES_PER_SECOND,
        "frames_indices": [number(time) for time in times],
        "height": size[0],
        "width": size[1],
    }


# The resize inside a stock processor: found without frames, and answered with resized frames.
#
# Stock processors compute the size of a frame in many ways, and all resize with
# `torch.nn.functional.interpolate`. So a processor runs on a stand-in: a tensor of the frames'
# shape without any data (device "meta"), which has to look like one on the CPU because processors
# choose the interpolation by that. Its one call of `interpolate` is intercepted. In a first run
# that call tells the resize; frames are then resized one by one as they are decoded; and in a
# second run the call returns them. Everything else is computed from the original shape, by the
# stock code.


_ARGUMENTS = inspect.signature(interpolate)
_DEVICE_OF = torch.Tensor.device.__get__


class _FoundError(Exception):
    """Ends a processor's first run at its resize."""

    def __init__(self, resize: FrameResize) -> None:
        super().__init__()
        self.resize = resize


class _Bounded(TorchFunctionMode):
    """Within the block and its thread, a resize or padding that makes too much is refused."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most_bytes = most_bytes

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (interpolate, pad):
            given = inspect.signature(func).bind(*args, **(kwargs or {})).arguments
            # On the device "meta", tensors have a size and no data.
            made = func(**given | {"input": given["input"].to("meta")})
            if not given["input"].is_meta and made.nbytes > self._most_bytes:
                raise MemoryError
        return func(*args, **(kwargs or {}))


class _Intercepted(TorchFunctionMode):
    """Within the block and its thread, the resize of a stand-in is answered by a function."""

    def __init__(self, answer: Callable[[FrameResize, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()  # equivalent: torch's does nothing
        self._answer = answer

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func == _DEVICE_OF:
            return torch.device("cpu")
        if func is not interpolate:
            return func(*args, **(kwargs or {}))
        given = _ARGUMENTS.bind(*args, **(kwargs or {}))
        given.apply_defaults()
        called = given.arguments
        frames = called["input"]
        if not frames.is_meta:
            return func(*args, **(kwargs or {}))
        height, width = called["size"]
        resize = FrameResize(
            source=tuple(frames.shape[-2:]),
            size=(int(height), int(width)),
            mode=called["mode"],
            align_corners=called["align_corners"],
            antialias=bool(called["antialias"]),
            in_float=frames.is_floating_point(),
        )
        return self._answer(resize, frames)


class _WithoutData(_Intercepted):
    """The same where the run goes on: some processors read the size of a frame from an array."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.cpu and args[0].is_meta:
            return torch.zeros((), dtype=args[0].dtype).expand(args[0].shape)
        return super().__torch_function__(func, types, args, kwargs)


def found_resize(
    process: Callable[[torch.Tensor], object], frames: int, height: int, width: int
) -> FrameResize | None:
    """The first resize of a processor's run; None if it resizes nothing, or has to see the pixels.

    Args:
        process: runs the stock processor on frames `[F, 3, H, W]`, uint8.
    """

    def found(resize: FrameResize, stand_in: torch.Tensor) -> torch.Tensor:
        if tuple(stand_in.shape) != (frames, 3, height, width):
            raise ValueError("frames aren't resized one by one, or not first of all")
        raise _FoundError(resize)

    stand_in = torch.empty(frames, 3, height, width, dtype=torch.uint8, device="meta")
    try:
        with _Intercepted(found):
            process(stand_in)
    except _FoundError as error:
        return error.resize
    # Whatever is wrong with the frames is reported when the processor runs on them.
    except Exception:
        return None
    return None


class OtherResizeError(Exception):
    """A processor resizes frames in another way than they were."""


@contextmanager
def as_video(frames: np.ndarray, resize: FrameResize | None) -> Iterator[torch.Tensor]:
    """Frames as a stock processor takes them; within the block they count as not resized.

    Args:
        frames: `[F, h, w, 3]`, uint8.
        resize: that was applied to them; None if they are as decoded.

    Yields:
        `[F, 3, H, W]`, uint8, H and W before the resize.

    Raises:
        OtherResizeError: the processor resizes frames in another way than `resize`.
    """
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if resize is None:
        yield video
        return

    def resized(requested: FrameResize, stand_in: torch.Tensor) -> torch.Tensor:
        if requested != resize:
            raise OtherResizeError
        return video.float() if requested.in_float else video

    with _Intercepted(resized):
        yield torch.empty(len(frames), 3, *resize.source, dtype=torch.uint8, device="meta")


@contextmanager
def without_data(
    frames: int, size: tuple[int, int], resize: FrameResize | None
) -> Iterator[torch.Tensor]:
    """A stand-in of frames; within the block a stock processor makes a prompt of it, and no pixels.

    Args:
        size: H and W, before the resize.
        resize: of the frames; None for the processor's own.

    Yields:
        `[F, 3, H, W]`, uint8, without any data. Made from it, pixels have none either.
    """

    def resized(requested: FrameResize, stand_in: torch.Tensor) -> torch.Tensor:
        # A processor may resize in two steps, of which one was made.
        first = resize is not None and requested.source == resize.source
        height, width = resize.size if resize is not None and first else requested.size
        return stand_in.new_empty(*stand_in.shape[:-2], height, width)

    with _WithoutData(resized):
        yield torch.empty(frames, 3, *size, dtype=torch.uint8, device="meta")


# Tokenizes a text whose runs of placeholders are very long, in the memory of a short one.
#
# The prompt of an hour has hundreds of thousands of placeholders. A tokenizer takes a kilobyte for
# each: far more than their ids. So a run of them is given to it as one, and its id is repeated. A
# special token has one id whatever stands beside it, so the ids are those of the whole text.


class CollapsedTokenizer:
    """A stock tokenizer that takes a run of placeholders as one, and returns the ids of all."""

    def __init__(self, tokenizer: Any, token: str) -> None:
        self._tokenizer, self._token = tokenizer, token
        self._id = tokenizer.convert_tokens_to_ids(token)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(
        self, text: str | list[str], *, return_tensors: str | None = None, **options: Any
    ) -> BatchEncoding:
        """Token ids of one text, and its mask; see the stock tokenizer."""
        [whole] = [text] if isinstance(text, str) else text
        lengths = list[int]()

        def collapse(run: re.Match[str]) -> str:
            lengths.append(len(run[0]) // len(self._token))
            return self._token

        # Possessive: to go back, `re` would remember 64 bytes for each placeholder.
        collapsed = re.sub(f"(?:{re.escape(self._token)})++", collapse, whole)
        found = self._tokenizer([collapsed], **options)
        runs, ids = iter(lengths), list[int]()
        for one in found["input_ids"][0]:
            ids += [one] * next(runs) if one == self._id else [one]
        assert next(runs, None) is None, "each run has its id"
        made = {"input_ids": [ids], "attention_mask": [[1] * len(ids)]}
        if return_tensors == "pt":
            return BatchEncoding({name: torch.tensor(rows) for name, rows in made.items()})
        return BatchEncoding(made)


@contextmanager
def collapsing(processor: Any, token: str) -> Iterator[None]:
    """Within the block, a stock processor tokenizes runs of a placeholder as one."""
    tokenizer = processor.tokenizer
    processor.tokenizer = CollapsedTokenizer(tokenizer, token)
    try:
        yield
    finally:
        processor.tokenizer = tokenizer
