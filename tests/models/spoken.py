"""Films with sound, a speech model that is none, and the stand-in that hears tones with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

STAND_IN = Path(__file__).with_name("stand_in")
RATE = 16_000
Tone = tuple[float, float, int]
"""Start and end in seconds, and hertz."""


def use_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process, and those that it starts, hear with the stand-in."""
    paths = [str(STAND_IN), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.syspath_prepend(STAND_IN)


def write_model(folder: Path, weights: bytes = b"") -> Path:
    """A folder with the files of a speech model."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.bin").write_bytes(weights)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def tones(length_s: float, *given: Tone, rate: int = RATE) -> np.ndarray:
    """Silence with tones in it, int16 `[N]`."""
    times = np.arange(round(length_s * rate)) / rate
    sound = np.zeros(len(times))
    for start, end, hertz in given:
        is_on = (times >= start) & (times < end)
        sound[is_on] = 10_000 * np.sin(2 * np.pi * hertz * times[is_on])
    return sound.astype(np.int16)


def write_film(
    path: Path,
    sound: np.ndarray | None,
    *,
    rate: int = RATE,
    layout: str = "mono",
    codec: str = "pcm_s16le",
    length_s: float | None = None,
    starts_s: float = 0.0,
    gaps: Sequence[tuple[float, float]] = (),
) -> Path:
    """A film of one frame a second, with a sound `[N]` in all channels.

    Args:
        starts_s: of the sound, behind the first frame.
        gaps: times of the sound from which on it comes later, and by how much.
    """
    length = length_s or (1 if sound is None else len(sound) / rate + starts_s)
    with av.open(str(path), "w") as container:
        film = container.add_stream("mpeg4", rate=1)
        film.width = film.height = 64
        track = None if sound is None else container.add_stream(codec, rate=rate, layout=layout)
        shown = 0

        def show(until_s: float) -> None:
            """Write the frames up to a time, as the two are interleaved in a film."""
            nonlocal shown
            for number in range(shown, round(until_s) + 1):
                shown = number + 1
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number % 250, np.uint8))
                frame.pts, frame.time_base = number, Fraction(1)
                container.mux(film.encode(frame))

        if track is not None and sound is not None:
            channels = track.codec_context.channels
            for begin in range(0, len(sound), 1024):
                show(min(begin / rate, length - 1))
                piece = np.repeat(sound[begin : begin + 1024], channels)[None]
                heard = av.AudioFrame.from_ndarray(piece, "s16", layout)
                later = sum(by for time, by in gaps if begin / rate >= time)
                heard.pts, heard.sample_rate = round(begin + (starts_s + later) * rate), rate
                heard.time_base = Fraction(1, rate)
                container.mux(track.encode(heard))
            container.mux(track.encode(None))
        show(max(1, round(length)) - 1)
        container.mux(film.encode(None))
    return path
