"""A picture that is stored as a grid of tiles, as photos of phones are (HEIC, AVIF)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import av
import numpy as np

from dycoke_cli.video.track_headers import TileGrid


def assembled(
    container: av.container.InputContainer, grid: TileGrid
) -> tuple[av.VideoFrame | None, tuple[int, ...]]:
    """Decode the tiles of a picture and put them together.

    Returns:
        The picture in the pixel format of its tiles, and the places of tiles that can't be decoded,
        which are grey. None if none can.
    """
    canvas: _Canvas | None = None
    missing = dict.fromkeys(range(len(grid.tiles)))
    for number, tile in _decoded(container, {*grid.tiles}):
        canvas = canvas or _Canvas(tile, grid)
        for place in [place for place in missing if grid.tiles[place] == number]:
            if canvas.put(tile, place):
                del missing[place]
    return (None if canvas is None else canvas.frame()), tuple(missing)


def _decoded(
    container: av.container.InputContainer, tiles: set[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Each tile that can be decoded, with its number. Those of one codec share a decoder."""
    decoders = dict[tuple[str, bytes], av.VideoCodecContext]()
    for packet in container.demux(*(one for one in container.streams.video if one.id in tiles)):
        context = packet.stream.codec_context
        if not packet.size or context is None:
            continue
        kind = context.name, bytes(context.extradata or b"")
        if kind not in decoders:
            made = cast(av.VideoCodecContext, av.CodecContext.create(context.codec, "r"))
            made.extradata = context.extradata
            made.thread_count = 1
            decoders[kind] = made
        decoder = decoders[kind]
        try:
            frames = [*decoder.decode(packet), *decoder.decode(None)]
        except MemoryError:
            raise
        except (av.FFmpegError, OSError):
            frames = []
        decoder.flush_buffers()
        if frames and not frames[0].is_corrupt:
            yield packet.stream.id, frames[0]


class _Canvas:
    """Planes of a picture, like those of its first tile."""

    def __init__(self, tile: av.VideoFrame, grid: TileGrid) -> None:
        self._tile, self._grid = tile, grid
        width, height = grid.size
        bits = max(component.bits for component in tile.format.components)
        kind = np.dtype(np.uint8 if bits <= 8 else np.uint16)
        # Grey, in YUV and in RGB.
        self._planes = [
            np.full(
                (-(-height * plane.height // tile.height), -(-width * plane.width // tile.width)),
                1 << bits - 1,
                kind,
            )
            for plane in tile.planes
        ]

    def put(self, tile: av.VideoFrame, place: int) -> bool:
        """Copy a tile to its place; False if it isn't like the first."""
        like = (tile.format.name, tile.width, tile.height)
        if like != (self._tile.format.name, self._tile.width, self._tile.height):
            return False
        row, column = divmod(place, self._grid.columns)
        for plane, whole in zip(tile.planes, self._planes, strict=True):
            stored = np.frombuffer(cast("Any", plane), whole.dtype).reshape(plane.height, -1)[
                :, : plane.width
            ]
            room = whole[row * plane.height :, column * plane.width :]
            height, width = (min(pair) for pair in zip(room.shape, stored.shape, strict=True))
            room[:height, :width] = stored[:height, :width]
        return True

    def frame(self) -> av.VideoFrame:
        """The picture."""
        frame = av.VideoFrame(*self._grid.size, self._tile.format.name)
        for plane, whole in zip(frame.planes, self._planes, strict=True):
            rows = np.zeros((plane.height, plane.line_size // whole.itemsize), whole.dtype)
            rows[:, : plane.width] = whole
            plane.update(rows.tobytes())
        for name in ("colorspace", "color_range", "color_trc", "color_primaries"):
            setattr(frame, name, getattr(self._tile, name))
        return frame
