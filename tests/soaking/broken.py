"""Files that have the name of a video, and can't be read: every way in which real ones are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from tests.video.clips import Recipe, write_coded, write_pictures, write_sound

_TEXT = "Dear diary, today I filmed nothing.\n" * 50


def _begin(size: int, codec: str = "libx264") -> Callable[[Path], object]:
    """The first bytes of a video."""

    def make(path: Path) -> None:
        write_coded(path, Recipe(codec=codec))
        path.write_bytes(path.read_bytes()[:size])

    return make


def _without_index(path: Path) -> None:
    write_coded(path, Recipe())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _header(path: Path) -> None:
    write_coded(path, Recipe(container_options=(("movflags", "frag_keyframe+empty_moov"),)))
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moof") - 4])


def _every_packet_damaged(path: Path) -> None:
    write_coded(path, Recipe(gop=1, container_options=(("movflags", "faststart"),)))
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    for start, size in packets:
        content[start : start + size] = b"\xff" * size
    path.write_bytes(content)


def _cover(path: Path) -> None:
    def mark(stream: av.VideoStream) -> None:
        stream.disposition = av.stream.Disposition.attached_pic

    picture = np.full((32, 32, 3), 90, np.uint8)
    write_pictures(path, [picture], codec="png", prepare=mark)


def _link_to(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


BROKEN: dict[str, Callable[[Path], object]] = {
    "nothing.mp4": Path.touch,
    "nothing.h264": Path.touch,
    "nothing.webm": Path.touch,
    "a byte.mp4": _begin(1),
    "40 bytes.mp4": _begin(40),
    "400 bytes.webm": _begin(400, "libvpx"),
    "40 bytes.mkv": _begin(40),
    "no index.mp4": _without_index,
    "every packet.mp4": _every_packet_damaged,
    "text.mp4": lambda path: path.write_text(_TEXT),
    "text.mkv": lambda path: path.write_text(_TEXT),
    "text.h264": lambda path: path.write_text(_TEXT),
    "noise.ts": lambda path: path.write_bytes(np.random.default_rng(1).bytes(5000)),
    "zeros.mov": lambda path: path.write_bytes(bytes(5000)),
    "sound.mp4": write_sound,
    "cover.mp4": _cover,
    "pipe.mp4": os.mkfifo,
    "loop.mp4": lambda path: path.symlink_to(path.name),
    "gone.mp4": _link_to("no such file"),
    "header alone.mp4": _header,
}
"""What makes each, by its name."""
