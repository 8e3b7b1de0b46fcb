"""Encodes a video, or a window of one, unless it is in the cache on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dycoke_cli.compression.method import Method
from dycoke_cli.engine.encode import Encoded, encode_by_stock, encode_video
from dycoke_cli.engine.visual_cache import VisualCache, key_of
from dycoke_cli.errors import OutputError
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.stock_prompt import StockPrompt, VideoPrompt


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
        if isinstance(video, StockPrompt):
            on_frames(0, video.frames)
            return encode_by_stock(loaded.model, loaded.family, video.latest_inputs)
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
    inputs = video.video_inputs if isinstance(video, StockPrompt) else video.inputs
    key = key_of(loaded.identity or {}, inputs)
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
