"""What is said in a video: what is heard when, what is kept, and what is refused.

A stand-in hears tones in place of speech; `test_heard_speech.py` hears speech.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dycoke_cli.errors import ModelError, UsageError, VideoError
from dycoke_cli.models import speech
from dycoke_cli.models.speech import speech_model, with_speech
from dycoke_cli.storage.cache_folder import ENVIRONMENT, files_of
from dycoke_cli.video.clip import Clip
from dycoke_cli.video.decoder import Decoder, OpenClip
from dycoke_cli.video.limits import MAX_SAMPLES
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.subtitles import find_source
from tests.cli.harness import ROOT, run_here
from tests.families.stock import one_of_each_kind
from tests.marks import EXTENDED
from tests.models.spoken import tones, use_stand_in, write_film, write_model

FRAMES = Sampling(fps=1, max_frames=10_000)


@pytest.fixture(autouse=True)
def ears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a speech model, in the working directory, with a cache of its own."""
    use_stand_in(monkeypatch)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    speech._loaded.cache_clear()
    return write_model(tmp_path / "ears")


def heard(path: Path, sampling: Sampling = FRAMES, wanted: str = "speech") -> Clip:
    source = find_source(str(path), wanted, speech_model=str(Path("ears").resolve()))
    with Decoder() as child, child.open(str(path), sampling, subtitles=source) as opened:
        return with_speech(opened.read(), opened, source)


def lines(clip: Clip) -> list[tuple[float, float, str]]:
    assert clip.subtitles is not None, clip.warnings
    found = clip.subtitles.lines
    return [(round(one.start_s, 2), round(one.end_s, 2), one.text) for one in found]


@pytest.mark.parametrize(
    "how",
    [
        {"rate": 16_000},
        {"rate": 48_000, "layout": "5.1"},
        {"rate": 44_100, "codec": "aac", "layout": "stereo"},
        {"rate": 8_000, "layout": "4 channels"},
    ],
    ids=str,
)
def test_what_is_said_when(tmp_path: Path, how: dict[str, Any]) -> None:
    sound = tones(12, (1, 3, 400), (6, 9, 800), rate=how["rate"])
    clip = heard(write_film(tmp_path / "a.mkv", sound, **how))
    expected = [(1, 3, "a tone of 400 hertz, en\\x1b"), (6, 9, "a tone of 800 hertz, en\\x1b")]
    for (start, end, text), (begin, until, words) in zip(lines(clip), expected, strict=True):
        assert (start, end) == pytest.approx((begin, until), abs=0.1)
        assert text == words
    assert clip.subtitles is not None
    assert clip.subtitles.source == f"the speech in {tmp_path}/a.mkv (ears, language en)"
    assert clip.warnings == ()


def test_lines_across_the_pieces_that_are_heard(tmp_path: Path) -> None:
    """A sentence on the edge of a minute is one, and a long one is divided."""
    said = ((2, 5, 300), (58, 63, 400), (70, 130, 500), (150, 153, 600))
    clip = heard(write_film(tmp_path / "a.mkv", tones(160, *said)))
    found = [(start, end, int(re.findall(r"\d+", text)[0])) for start, end, text in lines(clip)]
    assert [one for one in found if one[2] != 500] == [
        pytest.approx(one, abs=0.01) for one in said if one[2] != 500
    ]
    parts = [one for one in found if one[2] == 500]
    assert all(end - start <= 28.01 for start, end, _ in parts)
    assert parts[0][0] == pytest.approx(70, abs=0.01)
    assert parts[-1][1] == pytest.approx(130, abs=0.01)
    assert all(a[1] == pytest.approx(b[0], abs=0.01) for a, b in pairwise(parts))


def test_sound_that_begins_late_and_pauses(tmp_path: Path) -> None:
    sound = tones(6, (0, 2, 400), (3, 5, 800))
    film = write_film(
        tmp_path / "a.mkv", sound, starts_s=2, gaps=[(2, 4)], length_s=12, codec="pcm_s16le"
    )
    assert [one[:2] for one in lines(heard(film))] == [
        pytest.approx((2, 4), abs=0.15),
        pytest.approx((9, 11), abs=0.15),
    ]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts", "a.avi"])
def test_a_part_hears_its_own(tmp_path: Path, name: str) -> None:
    codec = "aac" if name in ("a.mp4", "a.ts") else "pcm_s16le"
    sound = tones(30, (1, 3, 400), (11, 13, 800), (21, 23, 1200))
    film = write_film(tmp_path / name, sound, codec=codec)
    clip = heard(film, Sampling(fps=2, max_frames=99, start_s=10, end_s=14))
    [(start, end, text)] = lines(clip)
    assert (start, end) == pytest.approx((11, 13), abs=0.2)
    assert "800 hertz" in text


def test_what_was_heard_is_kept(
    tmp_path: Path, ears: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_film(tmp_path / "a.mkv", tones(8, (1, 3, 400)))
    calls = list[Any]()

    def counted(*given: Any, hear: Callable[..., Any] = speech.hear) -> Any:
        calls.append(given[2:4])
        return hear(*given)

    monkeypatch.setattr(speech, "hear", counted)
    first = heard(film)
    moved = film.rename(tmp_path / "b.mkv")
    again = heard(moved)
    assert (len(calls), lines(again)) == (1, lines(first))
    assert again.subtitles is not None
    assert "b.mkv" in again.subtitles.source
    [kept] = files_of("transcripts")
    assert kept.st_mode & 0o777 == 0o600
    heard(moved, wanted="speech:de")
    heard(moved, Sampling(fps=1, end_s=4))
    (ears / "model.bin").write_bytes(b"other weights")
    heard(moved)
    write_film(moved, tones(8, (1, 3, 900)))
    assert "900" in lines(heard(moved))[0][2]
    assert len(calls) == 5
    [file] = [*(tmp_path / "cache" / "transcripts").iterdir()][:1]
    file.write_text("no transcript")
    for _ in range(2):
        heard(moved), heard(moved, wanted="speech:de"), heard(moved, Sampling(fps=1, end_s=4))
    assert len(calls) <= 9
    shown = run_here("cache")
    assert "transcripts: what was heard in videos" in shown.out
    run_here("cache", "clear", "transcripts")
    assert not files_of("transcripts")


@pytest.mark.parametrize(
    ("sound", "how", "sentence"),
    [
        (None, {}, "has no sound track"),
        (tones(3), {}, "has no audible speech"),
        (tones(4, rate=4000), {"rate": 4000}, "has no audible speech"),
        (np.zeros(4, np.int16), {"rate": 1}, "has sound of 1 samples per second, and speech is"),
        (
            np.zeros(10**6, np.int16),
            {"rate": 10**7, "length_s": 2},
            "has sound of 10000000 samples per second, and speech is heard at 4000 to 768000",
        ),
        (tones(1), {"layout": "64 channels"}, "of sound that can't be decoded to one channel"),
        (tones(3, (0, 3, 5000)), {}, "has speech that the model doesn't understand, left out"),
        (tones(3, (0, 3, 7000)), {}, "has speech that the model doesn't understand, left out"),
    ],
    ids=["no track", "silence", "4 kHz", "1 Hz", "10 MHz", "64 channels", "unsure", "repeated"],
)
def test_what_is_not_heard_is_said(
    tmp_path: Path, sound: np.ndarray | None, how: dict[str, Any], sentence: str
) -> None:
    began = time.process_time()
    clip = heard(write_film(tmp_path / "a.mkv", sound, **how))
    assert clip.subtitles is None
    assert any(one.startswith(f"{tmp_path}/a.mkv ") and sentence in one for one in clip.warnings)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("codec", "step"),
    one_of_each_kind(
        product(("flac", "aac", "mp3", "libopus"), (400, 90)),
        (("flac", 90), ("aac", 400), ("mp3", 90), ("libopus", 400)),
    ),
)
def test_a_broken_track(tmp_path: Path, codec: str, step: int) -> None:
    """What is damaged is left out, and what is whole is heard."""
    film = write_film(tmp_path / "a.mkv", tones(20, (1, 4, 400), (16, 18, 800)), codec=codec)
    content = bytearray(film.read_bytes())
    for place in range(len(content) // 3, len(content) // 2, step):
        content[place : place + 40] = np.random.default_rng(place).bytes(40)
    film.write_bytes(content)
    clip = heard(film)
    assert "400 hertz" in lines(clip)[0][2]


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [2, pytest.param(60, marks=EXTENDED)])
def test_silence_takes_no_memory(tmp_path: Path, minutes: int) -> None:
    sound = np.zeros(4000 * 60 * minutes, np.int16)
    film = write_film(tmp_path / "a.mkv", sound, rate=4000, codec="flac")
    heard(write_film(tmp_path / "b.mkv", tones(3)))  # all is imported
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = list[tuple[int, int]]()
    source = find_source(str(film), "speech", speech_model="ears")
    two = Sampling(frames=2)
    with Decoder() as child, child.open(str(film), two, subtitles=source) as opened:
        clip = with_speech(opened.read(), opened, source, lambda *done: seen.append(done))
    assert clip.warnings == (f"{film} has no audible speech",)
    kib = 1 if sys.platform == "linux" else 1024
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000 * kib
    assert seen[0] == (60, 60 * minutes)
    assert seen[-1][0] >= 60 * minutes - 1


def test_the_progress_and_the_language(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", tones(8, (1, 3, 2000), (5, 7, 400)))
    assert [text[-6:-4] for _, _, text in lines(heard(film))] == ["de", "de"]  # of the first words
    assert [text[-6:-4] for _, _, text in lines(heard(film, wanted="speech:en"))] == ["en", "en"]
    with pytest.raises(UsageError, match=r"speech:fr: .* ears doesn't know .*; leave :fr out"):
        heard(film, wanted="speech:fr")


def write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to(ROOT / "pyproject.toml")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda ears: (ears / "model.bin").unlink(), "has no model.bin, so it isn't"),
    "no tokenizer": (lambda ears: (ears / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "a link": (lambda ears: link(ears / "model.bin"), "a weight file that is a link out of it"),
    "a pointer": (
        lambda ears: write(ears / "model.bin", b"version https://git-lfs.github.com"),
        "only a Git LFS pointer",
    ),
    "sizes": (
        lambda ears: write(ears / "preprocessor_config.json", '{"chunk_length": 100000}'),
        "has a preprocessor_config.json that is none of Whisper's",
    ),
    "depth": (lambda ears: write(ears / "config.json", "[" * 99 + "]" * 99), "its config.json"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_folder_that_is_refused(ears: Path, case: str) -> None:
    change, sentence = BROKEN[case]
    change(ears)
    with pytest.raises(ModelError, match=re.escape(sentence)):
        speech_model("ears")


def test_weights_that_cannot_be_loaded(tmp_path: Path, ears: Path) -> None:
    (ears / "model.bin").write_bytes(b"broken")
    with pytest.raises(ModelError, match="can't be loaded, its weights can't be read"):
        heard(write_film(tmp_path / "a.mkv", tones(3)))


@pytest.mark.parametrize("name", ["whisper-small", "somebody/whisper"])
def test_a_model_of_the_hub_that_is_not_there(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ModelError, match=r"isn't on this machine .* with --speech-model"):
        speech_model(name)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dycoke_cli.errors.find_spec", lambda name: None)
    outcome = run_here("ask", ROOT / "sample_videos" / "move.mp4", "?", "--subtitles", "speech")
    assert outcome.code == ModelError.exit_code
    assert 'pip install "dycoke-cli[speech]"' in outcome.err


def test_probe_names_the_source(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mkv", tones(4, (1, 3, 400)))
    how = ("probe", "a.mkv", "--subtitles", "speech", "--speech-model", "ears")
    found = json.loads(run_here(*how, "--json").out)
    source = "the speech in a.mkv (ears, language en)"
    assert found["subtitles"] == {"source": source, "lines": 1}
    assert f"1 line of {source}" in " ".join(run_here(*how).out.split())


@contextmanager
def read_to_the_sound(folder: Path) -> Iterator[OpenClip]:
    """A film whose frames are read, and whose sound comes next."""
    film = str(write_film(folder / "a.mkv", tones(2)))
    source = find_source(film, "speech", speech_model="ears")
    with Decoder() as child, child.open(film, FRAMES, subtitles=source) as opened:
        assert isinstance(opened, OpenClip)
        opened.read()
        yield opened


@pytest.mark.parametrize("samples", [MAX_SAMPLES + 1, -1, 10**12, "many", None])
def test_more_sound_than_is_sent_at_once(
    tmp_path: Path, samples: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with read_to_the_sound(tmp_path) as opened:
        monkeypatch.setattr(opened, "_receive", lambda: {"samples": samples})
        with pytest.raises(VideoError, match="send what no video has"):
            next(opened.sound((0.0, 2.0)))


def test_samples_that_are_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with read_to_the_sound(tmp_path) as opened:

        def fill(buffer: memoryview) -> None:
            buffer[:] = np.array([np.nan, np.inf, -np.inf, 9.0], np.float32).tobytes()

        messages = iter([{"samples": 4}, {"notes": []}])
        monkeypatch.setattr(opened, "_receive", lambda: next(messages))
        monkeypatch.setattr(opened._process, "receive_into", fill)
        assert next(opened.sound((0.0, 2.0))).tolist() == [0.0, 1.0, -1.0, 1.0]
