"""Encodes a video, or a window of one, unless it is in the cache on disk; and shows it in prompts.

Prompts are batched, padded left, and have their videos' embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from safetensors import SafetensorError

from dycoke_cli.compression.method import (
    BeforeVision,
    FrameMerging,
    MergedFrames,
    Method,
    Selection,
)
from dycoke_cli.engine.attention import TowerAttention, TowerRecorder, split_by_video
from dycoke_cli.engine.memory.flops import chunk_numbers
from dycoke_cli.engine.tower import (
    FramesInTower,
    MergedVision,
    PackedVision,
    first_alike,
    new_runs,
    numbered_on,
)
from dycoke_cli.errors import OutputError
from dycoke_cli.kernels.attention import has_flash_attention
from dycoke_cli.kernels.tensor_files import Tensors, digest_of, read_tensors, write_tensors
from dycoke_cli.models.devices import input_device
from dycoke_cli.models.families import Family, Layout
from dycoke_cli.models.families.family import TYPES
from dycoke_cli.models.families.layout import DEEPSTACK, normalised, with_video
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.stock_prompt import VideoPrompt
from dycoke_cli.stock.forward import Arguments, Left, before_forward
from dycoke_cli.storage.cache_folder import CacheFiles, encoded_videos, unwritable
from dycoke_cli.version import program_key


@dataclass(frozen=True)
class Encoded:
    """An encoded video, the input of the language model."""

    # `[R, D]`, in the model's dtype and on its device: one per placeholder
    embeddings: torch.Tensor
    # more of them `[R, D]`, which are added behind each of the first decoder layers
    deepstack: tuple[torch.Tensor, ...] = ()
    # where merging came before vision: the tokens that were encoded, `[M]`, int64, flat indices
    # `frame*N + position`; each other one has the embedding of the token at the same place in the
    # frame that it was compared with
    kept: torch.Tensor | None = None
    tower: TowerAttention | None = None  # the vision encoder's attention, where it was requested
    # what is left of the frames, where frames were merged inside the tower; the embeddings of each
    # are those of the one that it is part of
    merged: MergedFrames | None = None
    # of each method that doesn't need the question: the same for every question
    selections: dict[Method, Selection] = field(default_factory=dict, compare=False)


@torch.inference_mode()
def encode_video(
    model: Any,
    family: Family,
    prompt: VideoPrompt,
    on_frames: Callable[[int, int], None] | None = None,
    merging: BeforeVision | FrameMerging | None = None,
    with_attention: bool = False,
    shrink: float | None = None,
) -> Encoded:
    """Run the vision side of a model, a few frames at a time so that its memory stays flat.

    Frames that are the same as one before are not run again.

    Args:
        merging: which patches the vision tower drops, or which frames it merges; None for none.
    """
    inputs, frames = prompt.inputs, prompt.frames
    pixels = inputs[family.pixels.key]
    device = input_device(model)
    # As many frames per pass as have so many numbers of pixels.
    flash = has_flash_attention(device, model.dtype)
    size = max(1, chunk_numbers(device.type == "cpu", flash) * frames // pixels.numel())
    count = prompt.tokens_per_frame
    alike = list(range(frames))
    patches: Any = nullcontext()
    in_tower: Any = nullcontext()
    # A method that merges frames compares neighbours itself, and counts on all of them. Windows
    # aren't split over chunks.
    if merging is None:
        alike = first_alike(family, inputs, frames)
    else:
        size = max(1, size // merging.window) * merging.window
    if isinstance(merging, BeforeVision) and family.packed_tower is not None:
        patches = PackedVision(model, family.packed_tower, merging, count)
    elif isinstance(merging, BeforeVision):
        assert family.tower is not None, "checked before"
        patches = MergedVision(model, family.tower, merging)
    elif merging is not None:
        with_attention, in_tower = True, FramesInTower(model, merging)
    recorder = TowerRecorder(model) if with_attention else None
    # Of new frames; repeated ones take those of the first alike at the end.
    by_frame: dict[int, list[torch.Tensor]] = {}
    kept: list[torch.Tensor] = []
    left: list[MergedFrames] = []
    towers: dict[int, TowerAttention] = {}
    for start, stop in new_runs(alike, size):
        chunk, keep = family.chunk(model.config, inputs, start, stop, prompt.tokens_per_frame)
        chunk[family.pixels.key] = normalised(
            chunk[family.pixels.key].to(device),
            prompt.processor.video_processor,
            family.pixels,
        )
        if shrink is not None:
            chunk[family.pixels.key] = shrunk(chunk[family.pixels.key], shrink)
        with patches, in_tower, recorder or nullcontext():
            placed = {
                name: tensor.to(device, model.dtype if tensor.is_floating_point() else None)
                for name, tensor in chunk.items()
            }
            kwargs = at_decoder(model, partial(model, **placed))
        if isinstance(merging, BeforeVision):
            kept.append(patches.kept + start * count)
        if recorder is not None:
            recorded = recorder.take()
            if isinstance(merging, FrameMerging):
                recorded, of_chunk = in_tower.take(recorded)
                left.append(of_chunk)
            # Frame by frame, since repeated frames take those of an earlier one.
            each = split_by_video(recorded, [1] * (stop - start))
            towers |= zip(range(start, stop), each, strict=True)
        kinds = [kwargs["inputs_embeds"][0], *(kwargs.get(DEEPSTACK) or ())]
        for frame in range(start, stop):
            behind = (frame - start + 1) * count
            # What follows the last frame of all belongs to it.
            mine = slice(behind - count, None if stop == frames == frame + 1 else behind)
            by_frame[frame] = [values[keep][mine] for values in kinds]
        if on_frames is not None:
            on_frames(stop, frames)
    embeddings, *deepstack = (
        torch.cat(parts) for parts in zip(*(by_frame[i] for i in alike), strict=True)
    )
    return Encoded(
        embeddings,
        tuple(deepstack),
        torch.cat(kept) if kept else None,
        TowerAttention.cat([towers[i] for i in alike]) if towers else None,
        _joined(left) if left else None,
    )


def _joined(parts: list[MergedFrames]) -> MergedFrames:
    """That of parts of a video, one behind the other."""
    starts = accumulate((len(part.into) for part in parts), initial=0)
    into = (
        start + frame for start, part in zip(starts, parts, strict=False) for frame in part.into
    )
    return MergedFrames(tuple(into), tuple(numbered_on(part.groups for part in parts)))


def at_decoder(model: Any, ask: Callable[[], Any]) -> dict[str, Any]:
    """What a model calls its text decoder with, which doesn't run."""

    def stop_here(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise Left(kwargs)

    hook = before_forward(model.get_decoder(), stop_here)
    try:
        ask()
    except Left as left:
        found: dict[str, Any] = left.found
        return found
    finally:
        hook.remove()
    raise AssertionError("the model answered without calling its text decoder")


def shrunk(pixels: torch.Tensor, share: float) -> torch.Tensor:
    """Downscale images by area averaging, then upscale them to their original size (bicubic).

    The size stays, so the encoder's token count does, too; only detail is lost.

    Args:
        pixels: `[..., 3, height, width]`, float, normalised.
        share: scale of both sides, with a minimum of one pixel.
    """
    size = pixels.shape[-2:]
    less = [max(1, round(side * share)) for side in size]
    small = torch.nn.functional.interpolate(pixels.float().flatten(0, -4), less, mode="area")
    return (
        torch.nn.functional.interpolate(small, size, mode="bicubic").view(pixels.shape).to(pixels)
    )


_PROGRAM = program_key()
_TOWER = {field.name for field in fields(TowerAttention)}


class VisualCache:
    """Encoded videos in files.

    Args:
        files: where; None for the folder in the user's cache.
    """

    def __init__(self, files: CacheFiles | None = None) -> None:
        self._files = encoded_videos() if files is None else files
        self._files.make_private()

    def get(self, key: str, device: torch.device, with_attention: bool = False) -> Encoded | None:
        """An encoded video, or None where it isn't there (or can't be trusted any more)."""
        path = self._files.path(key)
        try:
            encoded = _encoded(read_tensors(path, key), device)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError, KeyError):
            with suppress(OSError):
                path.unlink()
            return None
        self._files.note_use(path)
        return None if with_attention and encoded.tower is None else encoded

    def put(self, key: str, encoded: Encoded) -> None:
        """Keep an encoded video, and drop what was used longest ago where there is no room.

        One that isn't finite isn't kept: that is a fault, and no video has it for good.
        """
        named = {str(i): x for i, x in enumerate((encoded.embeddings, *encoded.deepstack))}
        if encoded.tower is not None:
            named |= vars(encoded.tower)
        tensors = {name: tensor.contiguous().cpu() for name, tensor in named.items()}
        if not _finite(tensors):
            return
        try:
            write_tensors(self._files.path(key), key, tensors)
        except (OSError, SafetensorError) as error:
            raise OutputError(unwritable(self._files.folder, error)) from error
        self._files.note_use(self._files.path(key))
        self._files.trim()


def _encoded(tensors: Tensors, device: torch.device) -> Encoded:
    """The video of a file's tensors.

    By number: embeddings, then DeepStack's; and by name, the vision encoder's attention.

    Raises:
        KeyError, ValueError: they are others, or not finite.
    """
    if not _finite(tensors):
        raise ValueError("not finite")
    found = {name: tensor.to(device) for name, tensor in tensors.items()}
    tower = {name: found.pop(name) for name in _TOWER} if _TOWER & found.keys() else None
    embeddings, *stacked = (found[str(number)] for number in range(max(1, len(found))))
    return Encoded(
        embeddings, tuple(stacked), tower=None if tower is None else TowerAttention(**tower)
    )


def _finite(tensors: Tensors) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def key_of(identity: dict[str, Any], inputs: dict[str, torch.Tensor]) -> str:
    """Key of a video's embeddings: a digest of everything that they depend on.

    Args:
        identity: of the model: its weights and dtype.
        inputs: what the processor made of the video.
    """
    about = {"program": _PROGRAM, "model": identity}
    return digest_of(inputs, json.dumps(about, sort_keys=True).encode())[:40]


def encode_cached(
    loaded: LoadedModel,
    video: VideoPrompt,
    method: Method,
    *,
    with_attention: bool,
    cache: VisualCache | None,
    on_frames: Callable[[int, int], None],
) -> tuple[Encoded, str | None]:
    """Encode a video, or take it from the cache.

    Args:
        cache: of encoded videos on disk, or None.

    Returns:
        The encoded video, and a warning where the cache can't be written.
    """

    def encode() -> Encoded:
        return encode_video(
            loaded.model,
            loaded.family,
            video,
            on_frames,
            method.in_tower(),
            with_attention,
            method.shrink(),
        )

    # What a method changes of a video isn't kept on disk: it depends on the method as well.
    if cache is None or encoded_for(method):
        return encode(), None
    key = key_of(loaded.identity or {}, video.inputs)
    encoded = cache.get(key, loaded.input_device, with_attention)
    if encoded is not None:
        return encoded, None
    encoded = encode()
    try:
        cache.put(key, encoded)
    except OutputError as error:  # the answer doesn't depend on it
        return encoded, f"the encoded video isn't kept: {error}"
    return encoded, None


def encoded_for(method: Method) -> tuple[Any, ...]:
    """Key of a way of encoding, by which methods share an encoded video; () for whole frames."""
    in_tower, shrink = method.in_tower(), method.shrink()
    merging = () if in_tower is None else in_tower.parameters
    return merging if shrink is None else (*merging, shrink)


@dataclass(frozen=True)
class Preselection:
    """What was selected of a video before its prompt was made."""

    layout: Layout  # of its M visual tokens: `index` is their place in the short prompt
    kept: torch.Tensor  # `[M]`, int64: which of the video's tokens they are
    # `[M]`, int64: how many of them each stands for; None where nothing was merged
    counts: torch.Tensor | None
    # `[..., 1, R]`, int64: of its R tokens in the whole prompt, or contiguous ones
    positions: torch.Tensor
    visual: int  # V, visual tokens of the whole prompt
    length: int  # S, tokens of the whole prompt
    cap: int  # visual tokens that it may have at most


@dataclass(frozen=True)
class Prompt:
    """One prompt."""

    input_ids: torch.Tensor  # `[1, S]`, int64
    # what goes with the ids: kinds of tokens `[1, S]`, the grid that positions are made from
    extra_inputs: dict[str, torch.Tensor]
    placeholders: torch.Tensor  # `[1, S]`, bool: where the videos are
    # their embeddings, in their order; none where `extra_inputs` has pixels, which `generate()`
    # encodes
    videos: tuple[Encoded, ...]
    # where its video was selected from before; else None
    preselection: Preselection | None = None


@dataclass(frozen=True)
class Batch:
    """Prompts of equal length."""

    input_ids: torch.Tensor  # `[B, S]`, int64
    mask: torch.Tensor  # `[B, S]`, int64: 0 in the padding
    extra_inputs: dict[str, torch.Tensor]  # what goes with the ids
    placeholders: torch.Tensor  # `[B, S]`, bool
    videos: list[tuple[Encoded, ...]]  # those of each prompt that shows any
    # of the only prompt, where its video was selected from before; else None
    preselection: Preselection | None = None


def without_video(input_ids: torch.Tensor) -> Batch:
    """Prompts of text alone: `[B, S]`, int64, without padding."""
    return Batch(
        input_ids=input_ids,
        mask=torch.ones_like(input_ids),
        extra_inputs={},
        placeholders=torch.zeros_like(input_ids, dtype=torch.bool),
        videos=[],
    )


def together(prompts: Sequence[Prompt], pad: int) -> Batch:
    """A batch of prompts, in their order."""
    longest = max(prompt.input_ids.shape[1] for prompt in prompts)

    def padded(sequences: Sequence[torch.Tensor], value: int) -> torch.Tensor:
        return torch.cat(
            [torch.nn.functional.pad(s, (longest - s.shape[1], 0), value=value) for s in sequences]
        )

    # Kinds of tokens are per token and padded; grids are per video and joined.
    extra_inputs = {
        name: padded([p.extra_inputs[name] for p in prompts], 0)
        if name == TYPES
        else torch.cat([p.extra_inputs[name] for p in prompts])
        for name in prompts[0].extra_inputs
    }
    return Batch(
        input_ids=padded([p.input_ids for p in prompts], pad),
        mask=padded([torch.ones_like(p.input_ids) for p in prompts], 0),
        extra_inputs=extra_inputs,
        placeholders=padded([p.placeholders for p in prompts], 0),
        videos=[p.videos for p in prompts],
        preselection=prompts[0].preselection,
    )


@contextmanager
def inject_videos(
    model: Any, videos: Sequence[Sequence[Encoded]], is_placeholder: torch.Tensor
) -> Iterator[None]:
    """Within the block, the first prompts that the model reads have these videos.

    The call gets token ids alone, so stock code makes all that belongs to them; where the
    placeholders of a video are, its embeddings are written as the text decoder is about to read
    them.

    Args:
        model: a stock model.
        videos: those of each sequence of the batch that has any placeholder.
        is_placeholder: `[B, S]`, bool: where they are.
    """
    # Popped by the first call of the decoder, which is the prompt; later ones are decoding steps.
    pending = [is_placeholder]
    shown = [video for of_prompt in videos for video in of_prompt]

    def write(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        if not pending:
            return None
        embeddings = torch.cat([video.embeddings for video in shown])
        deepstack = [torch.cat(layer) for layer in zip(*(v.deepstack for v in shown), strict=True)]
        return args, with_video(kwargs, pending.pop(), embeddings, deepstack)

    hook = before_forward(model.get_decoder(), write)
    try:
        yield
    finally:
        hook.remove()
