"""The audio of a video: what was written, at another rate, from where the part begins."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.video import Decoder, Sampling
from tests.video.clips import HEIGHT, WIDTH, coded_picture
from tests.video.inside import read

RATE, STORED = 16_000, 44_100
TONE_HZ, ONSET_S, LENGTH_S = 440, 1.5, 4.0


def write(path: Path, *, sound: bool = True, late_s: float = 0.0) -> Path:
    """Four seconds of pictures, and a tone on two channels from a second and a half on."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt, video.gop_size = WIDTH, HEIGHT, "yuv420p", 10
        heard = container.add_stream("flac", rate=STORED) if sound else None
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(coded_picture(number), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if heard is not None:
            at = np.arange(round((LENGTH_S - late_s) * STORED)) / STORED + late_s
            tone = np.where(at >= ONSET_S, np.sin(2 * np.pi * TONE_HZ * at), 0)
            both = np.stack([tone, tone / 2], 1).reshape(1, -1)
            samples = av.AudioFrame.from_ndarray(
                (both * 16_000).astype(np.int16), format="s16", layout="stereo"
            )
            samples.rate, samples.time_base = STORED, Fraction(1, STORED)
            samples.pts = round(late_s * STORED)
            for packet in [*heard.encode(samples), *heard.encode()]:
                container.mux(packet)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("audio") / "tone.mkv")


def onset_s(samples: np.ndarray) -> float:
    return float(np.flatnonzero(np.abs(samples) > 0.05)[0]) / RATE


@pytest.mark.parametrize(
    ("part", "length_s", "begins_s"),
    [
        ({}, LENGTH_S, ONSET_S),
        ({"start_s": 1.2}, LENGTH_S - 1.2, ONSET_S - 1.2),
        ({"start_s": 1.0, "end_s": 2.0}, 1.0, ONSET_S - 1.0),
        ({"start_s": 2.0, "end_s": 3.5}, 1.5, 0.0),
    ],
)
def test_a_part_is_heard_from_its_start(
    clip: Path, part: dict[str, float], length_s: float, begins_s: float
) -> None:
    audio = read(clip, Sampling(frames=2, audio_rate=RATE, **part)).audio  # type: ignore[arg-type]
    assert audio is not None
    assert (audio.samples.dtype, audio.rate) == (np.float32, RATE)
    assert audio.seconds == pytest.approx(length_s, abs=0.02)
    assert onset_s(audio.samples) == pytest.approx(begins_s, abs=0.002)
    spectrum = np.abs(np.fft.rfft(audio.samples[round((begins_s + 0.1) * RATE) :][: RATE // 5]))
    assert spectrum.argmax() * 5 == TONE_HZ
    # Both channels, mixed: the mean of 16,000 and 8,000 of 32,768.
    assert np.abs(audio.samples).max() == pytest.approx(12_000 / 32_768, abs=0.02)


def test_audio_that_begins_late_stays_there(tmp_path: Path) -> None:
    path = write(tmp_path / "late.mkv", late_s=1.0)
    audio = read(path, Sampling(frames=2, audio_rate=RATE)).audio
    assert audio is not None
    assert onset_s(audio.samples) == pytest.approx(ONSET_S, abs=0.002)


def test_the_process_hears_the_same(clip: Path, tmp_path: Path) -> None:
    sampling = Sampling(frames=2, audio_rate=RATE, start_s=0.5)
    silent = write(tmp_path / "silent.mkv", sound=False)
    with Decoder() as decoder:
        here, there = read(clip, sampling), decoder.read(str(clip), sampling)
        assert here.audio is not None
        assert there.audio is not None
        np.testing.assert_array_equal(here.audio.samples, there.audio.samples)
        np.testing.assert_array_equal(here.frames, there.frames)
        assert decoder.read(str(clip), Sampling(frames=2)).audio is None
        assert decoder.read(str(silent), sampling).audio is None
        with pytest.raises(UsageError, match=r"silent.mkv has no audio .*; leave out --audio"):
            decoder.read(str(silent), Sampling(frames=2, audio_rate=RATE, audio=True))


def test_there_is_a_limit(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dycoke_cli.video.audio.MAX_AUDIO_BYTES", 4 * RATE)
    audio = read(clip, Sampling(frames=2, audio_rate=RATE)).audio
    assert audio is not None
    assert audio.seconds == 1.0


def write_channels(path: Path, layout: str, rate: int) -> int:
    """A second of pictures, and of channels of which each has one value; returns their number."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        heard = container.add_stream("pcm_s16le", rate=rate, layout=layout)
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(coded_picture(number), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode())
        channels = heard.codec_context.layout.nb_channels
        values = np.arange(1, channels + 1, dtype=np.int16) * 256
        samples = av.AudioFrame.from_ndarray(
            np.tile(values, min(rate, 48_000)).reshape(1, -1), format="s16", layout=layout
        )
        samples.rate, samples.time_base, samples.pts = rate, Fraction(1, rate), 0
        container.mux([*heard.encode(samples), *heard.encode()])
    return channels


@pytest.mark.parametrize("layout", ["mono", "5.1", "7.1", "24 channels", "64 channels"])
def test_all_channels_are_heard_alike(tmp_path: Path, layout: str) -> None:
    """From eight on, with a plane per channel, the decoding process crashed."""
    channels = write_channels(tmp_path / "channels.mkv", layout, 48_000)
    with Decoder() as decoder:
        audio = decoder.read(
            str(tmp_path / "channels.mkv"), Sampling(frames=2, audio_rate=RATE)
        ).audio
    assert audio is not None
    middle = audio.samples[RATE // 4 : RATE // 2]
    np.testing.assert_allclose(middle, 256 * (channels + 1) / 2 / 32_768, rtol=1e-3)


@pytest.mark.parametrize("rate", [1, 999, 1_000_001, 2**31 - 1])
def test_a_rate_that_no_recording_has(tmp_path: Path, rate: int) -> None:
    """At one sample per second, resampling took a quarter of a gigabyte for 8 KB of them."""
    write_channels(tmp_path / "odd.mkv", "mono", rate)
    with (
        Decoder() as decoder,
        pytest.raises(VideoError, match=rf"audio of {rate:,} samples .*leave it out with --no-aud"),
    ):
        decoder.read(str(tmp_path / "odd.mkv"), Sampling(frames=2, audio_rate=RATE))
