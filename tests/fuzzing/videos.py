"""Videos: ten containers with a codec each, read as `probe` and `ask` read them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from tests.fuzzing.mutators import bytes_of
from tests.fuzzing.subject import Subject
from tests.video.clips import Recipe, coded_picture, with_edits, write_coded

FRAMES = 4

RECIPES: dict[str, Recipe] = {
    "MP4, H.264": Recipe(frames=12, gop=5, sound_s=0.3),
    "MP4 in fragments, H.264": Recipe(
        frames=8, gop=4, container_options=(("movflags", "frag_keyframe+empty_moov"),)
    ),
    "Matroska, H.265": Recipe(
        suffix=".mkv", codec="libx265", frames=6, options=(("x265-params", "log-level=none"),)
    ),
    "WebM, VP9": Recipe(suffix=".webm", codec="libvpx-vp9", frames=8),
    "AVI, MPEG-4": Recipe(suffix=".avi", codec="mpeg4", frames=8),
    "GIF": Recipe(suffix=".gif", codec="gif", pix_fmt="rgb8", frames=6, rate=5),
    "MPEG-TS, MPEG-2": Recipe(suffix=".ts", codec="mpeg2video", frames=8),
    "QuickTime, PNG": Recipe(suffix=".mov", codec="png", pix_fmt="rgb24", frames=5),
    "QuickTime, transparent PNG": Recipe(suffix=".mov", codec="png", pix_fmt="rgba", frames=4),
    "QuickTime, transparent Animation": Recipe(
        suffix=".mov", codec="qtrle", pix_fmt="argb", frames=4
    ),
    "FLV, Sorenson": Recipe(suffix=".flv", codec="flv", frames=8),
    "Ogg, VP8": Recipe(suffix=".ogv", codec="libvpx", frames=8),
}  # fmt: skip
"""How the first seed of each is written."""
JOINED: dict[str, Recipe] = {
    "MPEG-TS, joined": Recipe(suffix=".ts", codec="mpeg2video", frames=6, sound_s=0.2),
    "MP4, joined": Recipe(frames=6),
    "MP4 in fragments, joined": RECIPES["MP4 in fragments, H.264"],
    "Matroska, live and joined": Recipe(
        suffix=".mkv", codec="mpeg4", frames=6, container_options=(("live", "1"),)
    ),
    "Ogg, joined": Recipe(suffix=".ogv", codec="libvpx", frames=5),
}
"""Files that are one after the other in a file, whose clock begins again."""
_SUFFIXES = {name: recipe.suffix for name, recipe in (RECIPES | JOINED).items()}
_SUFFIXES["WebP, animated"] = ".webp"
EDITED = "MP4 with a long edit list"
_SUFFIXES[EDITED] = ".mp4"


def _seeds(name: str) -> list[bytes]:
    """Two videos of a kind: short ones, for a mutation is to hit what is read."""
    if name == EDITED:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "clip.mp4")
            write_coded(path, Recipe(frames=2))
            return [with_edits(path, 9), with_edits(path, 1)]
    if name in JOINED:
        one, other = _written(JOINED[name])
        return [one + other, other + one + other]
    return _written(RECIPES[name]) if name in RECIPES else [_webp(3), _webp(1)]


def _written(recipe: Recipe) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for number, one in enumerate((recipe, replace(recipe, frames=2, sound_s=0.0))):
            path = Path(folder, f"{number}{recipe.suffix}")
            write_coded(path, one)
            found.append(path.read_bytes())
        return found


def _webp(frames: int) -> bytes:
    from PIL import Image

    first, *others = [Image.fromarray(coded_picture(number)) for number in range(frames)]
    file = io.BytesIO()
    first.save(file, "WEBP", save_all=True, append_images=others, duration=200, quality=50)
    return file.getvalue()


def _attempt(suffix: str, content: bytes, folder: Path) -> object:
    from dycoke_cli.video.sampling import Sampling
    from dycoke_cli.video.subtitles import SubtitleSource
    from tests.video.inside import probe, read

    path = folder / f"case{suffix}"
    path.write_bytes(content)
    probe(path)
    clip = read(path, Sampling(frames=FRAMES), subtitles=SubtitleSource(None, required=False))
    check(clip.frames, clip.timestamps_s)
    return clip.warnings


def check(frames: np.ndarray, times_s: Sequence[float]) -> None:
    """What holds of all frames that are read, whatever the file."""
    assert frames.dtype == np.uint8, frames.dtype
    assert frames.ndim == 4, frames.shape
    assert frames.shape[3] == 3, frames.shape
    assert 1 <= len(frames) == len(times_s) <= FRAMES, (len(frames), times_s)
    assert np.isfinite(times_s).all(), times_s
    assert all(one < other for one, other in pairwise(times_s)), times_s


SUBJECTS = [
    Subject(
        name=name,
        group="video",
        cases=2500,
        modules=("dycoke_cli.video.decoder_process", "dycoke_cli.video.planning"),
        seeds=partial(_seeds, name),
        mutate=bytes_of,
        attempt=partial(_attempt, suffix),
    )
    for name, suffix in _SUFFIXES.items()
]
