"""One window of a video: encoded, selected from and forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from dycoke_cli.compression.method import Method, Selection, SelectionInputs
from dycoke_cli.compression.pool import PooledTokens
from dycoke_cli.compression.promises import selected
from dycoke_cli.engine.cached_encoding import encode_cached
from dycoke_cli.engine.encode import Encoded
from dycoke_cli.engine.visual_cache import VisualCache
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.stock_prompt import VideoPrompt, window_prompt
from dycoke_cli.video.frame_windows import FrameWindow


@dataclass(frozen=True)
class ReadWindow:
    """What is left of a window."""

    tokens: PooledTokens  # that the method kept, as tokens of the whole video
    tail: Encoded  # what stands behind its last frame
    # what the method knows of the video up to its end; see `Method.so_far`
    so_far: tuple[torch.Tensor, ...]
    frames: int  # encoded ones
    warning: str | None  # a sentence where the cache can't be written; else None
    seconds: float  # that it took


def read_window(
    loaded: LoadedModel,
    method: Method,
    whole: VideoPrompt,
    window: FrameWindow,
    before: int,
    so_far: tuple[torch.Tensor, ...],
    cache: VisualCache | None,
    on_frames: Callable[[int, int], None],
) -> ReadWindow:
    """Encode a window, and select from it.

    Args:
        loaded: the model.
        method: that needs no question.
        whole: prompt of the video, without pixels.
        window: the frames.
        before: frames that were encoded before it.
        so_far: what the method knows of these.
        cache: of encoded windows on disk, or None.
        on_frames: called with (frames of the window done, its frames).
    """
    started = time.perf_counter()
    video = window_prompt(whole, loaded.family, loaded.model.config, window)
    encoded, warning = encode_cached(
        loaded,
        video,
        method,
        with_attention="attention" in method.needs,
        cache=cache,
        on_frames=on_frames,
    )
    rows, stacked, tokens = encoded.embeddings, encoded.deepstack, video.visual
    features = rows[:tokens].view(video.frames, video.tokens_per_frame, -1)
    so_far = method.so_far(features, so_far)
    selection = select_from_window(method, encoded, features, so_far)
    return ReadWindow(
        PooledTokens.of_window(selection, rows, stacked, before * video.tokens_per_frame),
        Encoded(rows[tokens:].clone(), tuple(layer[tokens:].clone() for layer in stacked)),
        so_far,
        video.frames,
        warning,
        time.perf_counter() - started,
    )


@torch.inference_mode()
def select_from_window(
    method: Method,
    encoded: Encoded,
    features: torch.Tensor,
    so_far: tuple[torch.Tensor, ...] = (),
) -> Selection:
    """A method's selection from one window.

    Args:
        method: that needs no question.
        encoded: the window.
        features: `[F, N, D]`, of its embeddings those of frames.
        so_far: of the video up to its end; see `Method.so_far`.
    """
    inputs = SelectionInputs(features, encoded=encoded.kept, merged=encoded.merged, so_far=so_far)
    if "attention" in method.needs:
        tower, device = encoded.tower, features.device
        assert tower is not None, "encoded with it, for the method needs it"
        attention, keys = tower.attention.to(device), tower.keys.to(device)
        inputs = replace(inputs, attention=attention, keys=keys)
    return selected(method, inputs)
