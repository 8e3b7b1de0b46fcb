"""Still pictures as a video, stored or rendered: compared with the same pictures stored as one."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.errors import DycokeError, UsageError, VideoError
from dycoke_cli.loop.reading import Readers, Reading
from dycoke_cli.video.clip import FrameResize
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.pictures import Pictures, Rendered, as_named, digest, pictures_of, sources
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.subtitles import SubtitleSource
from tests.runs.parts import REQUEST
from tests.video.clips import HEIGHT, WIDTH, Recipe, coded_picture, numbers_in, write_rgba
from tests.video.conftest import MakeClip
from tests.video.inside import plan, read

COUNT = 12


def put(folder: Path, name: str, number: int = 0, **options: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    Image.fromarray(coded_picture(number)).save(path, **options)
    return path


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, whose names sort otherwise as text."""
    folder = tmp_path_factory.mktemp("pictures") / "frames"
    for number in range(COUNT):
        put(folder, f"Frame {number}{('.png', '.JPG')[number % 2]}", number)
    put(folder, ".hidden.png", 99)
    return folder


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


@pytest.mark.parametrize("fps", [1, 3])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"frames": 1},
        {"frames": 5},
        {"frames": 8},
        {"frames": 5, "start_s": 1.2},
        {"frames": 2, "start_s": 0.4, "end_s": 3.7},
        {"frames": 32, "start_s": 2.0, "end_s": 3.0},
        {"frames": 4, "start_s": 1.4, "end_s": 1.6},
        {"fps": 0.7},
        {"fps": 2.0, "max_frames": 3},
        {"fps": 10.0, "start_s": 1.0},
    ],
)
def test_sampled_as_the_same_pictures_in_a_video(
    frames: Path, make_clip: MakeClip, given: dict[str, float], fps: int
) -> None:
    video = read(make_clip(Recipe(frames=COUNT, rate=fps)).path, Sampling(**given))  # type: ignore[arg-type]
    clip = read(frames, Sampling(**given, picture_fps=fps))  # type: ignore[arg-type]
    assert numbers_in(clip.frames) == numbers_in(video.frames)
    assert clip.timestamps_s == pytest.approx(video.timestamps_s, abs=1e-3)
    assert clip.info.duration_s == pytest.approx(video.info.duration_s)


def test_the_process_reads_what_is_read_here(frames: Path, decoder: Decoder) -> None:
    sampling = Sampling(frames=3)
    here, there = read(frames, sampling), decoder.read(str(frames), sampling)
    np.testing.assert_array_equal(here.frames, there.frames)
    assert (here.timestamps_s, here.warnings) == (there.timestamps_s, there.warnings)
    assert plan(frames, sampling).times_s == here.timestamps_s == (0.0, 5.0, 11.0)
    np.testing.assert_array_equal(here.frames[0], coded_picture(0))


def test_the_process_shows_transparency_on_white(tmp_path: Path, decoder: Decoder) -> None:
    half = np.full((HEIGHT, WIDTH, 4), (200, 0, 0, 128), np.uint8)
    for number in range(3):
        put(tmp_path / "some", f"{number}.png")
        Image.fromarray(half).save(tmp_path / "some" / f"{number}.png")
    film = write_rgba(tmp_path / "a.mov", "qtrle", "argb", [half] * 3)
    for path in (tmp_path / "some", film):
        clip = decoder.read(str(path), Sampling())
        np.testing.assert_array_equal(clip.frames, read(path).frames)
        # 200 · 128/255 + 127 and 127
        assert clip.frames[2, 9, 9] == pytest.approx([227, 127, 127], abs=2)
        assert clip.warnings == ()


def test_pictures_that_are_named_are_one_video_in_their_order(frames: Path) -> None:
    named = tuple(str(frames / f"Frame {n}.png") for n in (4, 2, 10))
    assert sources(as_named(named)) == (named,)
    assert numbers_in(read(named).frames) == [4, 2, 10]
    expanded = sorted(named)
    assert as_named(expanded) == (named[1], named[0], named[2])
    assert sources(("a.mp4", "b.png")) == ("a.mp4", "b.png")
    assert sources(("b.png",)) == ("b.png",)


def test_pictures_of_other_sizes_are_fitted_into_the_first(tmp_path: Path) -> None:
    put(tmp_path, "1.png")
    white = np.full((HEIGHT, 3 * WIDTH // 2, 3), 255, np.uint8)
    Image.fromarray(white).save(tmp_path / "2.png")
    clip = read(tmp_path)
    assert clip.frames.shape == (2, HEIGHT, WIDTH, 3)
    bars = HEIGHT - HEIGHT * 2 // 3
    assert (clip.frames[1, : bars // 2] == 0).all()
    assert (clip.frames[1, -bars // 2 :] == 0).all()
    assert (clip.frames[1, bars // 2 : -bars // 2] == 255).all()
    assert not clip.warnings


def test_each_picture_is_turned_as_its_camera_was(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # shown by a quarter turn clockwise
    put(tmp_path, "1.jpg", 5, quality=95)
    turned = Image.fromarray(np.rot90(coded_picture(5), 1))
    turned.save(tmp_path / "2.jpg", exif=exif, quality=95)
    clip = read(tmp_path)
    assert numbers_in(clip.frames) == [5, 5]
    assert not clip.warnings


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("2.png", b"", "2.png is empty"),
        ("2.png", b"Dear diary,\n", "2.png is a text file"),
        ("2.webp", b"\0\1\2\3" * 99, "2.webp isn't a picture that can be read"),
    ],
)
def test_a_picture_that_cant_be_read_is_named(
    tmp_path: Path, decoder: Decoder, name: str, content: bytes, says: str
) -> None:
    put(tmp_path, "1.png")
    (tmp_path / name).write_bytes(content)
    for reads in (read, decoder.read):
        with pytest.raises(VideoError, match=says):
            reads(str(tmp_path), Sampling())
    assert len(decoder.read(str(tmp_path), Sampling(end_s=1.0)).frames) == 1  # it isn't sampled


def test_what_isnt_a_folder_of_pictures(tmp_path: Path) -> None:
    assert pictures_of(str(tmp_path)) is None
    with pytest.raises(VideoError, match="is a folder without pictures"):
        read(tmp_path)
    put(tmp_path, "1.png")
    for wanted in (SubtitleSource("x.srt"), SubtitleSource(None)):
        with pytest.raises(UsageError, match=r"has no subtitles: .* leave out --subtitles"):
            read(tmp_path, subtitles=wanted)
    assert not read(tmp_path, subtitles=SubtitleSource(None, required=False)).warnings
    with pytest.raises(UsageError, match="--stream 1 isn't a video stream"):
        read(tmp_path, Sampling(stream=1))
    with pytest.raises(UsageError, match=r"--start 5 s lies beyond the end of the video"):
        read(tmp_path, Sampling(start_s=5))
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"has pictures and videos \(1.png, clip.mp4, …\)"):
        read(tmp_path)


def test_too_many_of_them(frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dycoke_cli.video.limits.MAX_CLIP_BYTES", 5 * WIDTH * HEIGHT * 3)
    with pytest.raises(DycokeError, match="lower --frames to 5"):
        read(frames)


def test_the_digest_is_that_of_names_and_contents(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="is a folder without pictures"):
        digest(str(tmp_path))
    first, second = put(tmp_path, "1.png", 1), put(tmp_path, "2.png", 2)
    (tmp_path / "3.png").symlink_to("nowhere.png")
    (tmp_path / "notes.txt").write_text("x")
    of_files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
    each = [("1.png", of_files[0]), ("2.png", of_files[1]), ("3.png", None)]
    assert digest(str(tmp_path)) == hashlib.sha256(repr(each).encode()).hexdigest()
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match="has pictures and videos"):
        digest(str(tmp_path))


def test_links_that_lead_nowhere_are_named_and_hide_no_pictures(
    tmp_path: Path, decoder: Decoder
) -> None:
    """One that leads back to itself made the folder one without pictures."""
    for number in (1, 4):
        put(tmp_path, f"{number}.png", number)
    (tmp_path / "2.png").symlink_to("2.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "folder.png")
    assert pictures_of(str(tmp_path)) == Pictures(
        str(tmp_path), tuple(str(tmp_path / f"{number}.png") for number in (1, 2, 4))
    )
    for place, says in (
        ("2.png", r"2.png can't be read \(Too many levels"),
        ("/dev/zero", "2.png is a device or a socket"),
        ("gone.png", "2.png is a link to a file that isn't there"),
    ):
        (tmp_path / "2.png").unlink()
        (tmp_path / "2.png").symlink_to(place)
        with pytest.raises(VideoError, match=says):
            decoder.read(str(tmp_path), Sampling())
    assert len(decoder.read(str(tmp_path), Sampling(end_s=1.0)).frames) == 1


def gray(number: int) -> np.ndarray:
    """A frame whose brightness is its number."""
    return np.full((6, 8, 3), number % 256, np.uint8)


def counted(count: int) -> tuple[Rendered, list[int]]:
    """A video of that many frames, and the numbers of those that were rendered."""
    drawn: list[int] = []

    def frame(number: int) -> np.ndarray:
        drawn.append(number)
        return gray(number)

    return Rendered("drawn", count, frame), drawn


def test_only_the_frames_that_are_sampled_are_rendered() -> None:
    video, drawn = counted(3600)
    clip = read(video, Sampling(frames=4))
    # By hand: from the first to the last, 3,599 s apart, at the nearest whole seconds.
    assert clip.timestamps_s == (0.0, 1200.0, 2399.0, 3599.0)
    assert set(drawn) == {0, 1200, 2399, 3599}
    assert clip.frames[:, 0, 0, 0].tolist() == [0, 1200 % 256, 2399 % 256, 3599 % 256]
    assert clip.frames.shape == (4, 6, 8, 3)
    assert clip.info.duration_s == 3600
    assert not clip.warnings


def test_frames_are_resized_one_by_one_for_a_model() -> None:
    video, _ = counted(5)
    half = FrameResize((6, 8), (3, 4), "bilinear", False, True, True)
    fit: Future = Future()
    fit.set_result(lambda *_: half)
    with Decoder() as decoder:
        clip = decoder.read(video, Sampling(fps=1.0), fit=fit)
    assert clip.frames.shape == (5, 3, 4, 3)
    assert clip.frames[:, 1, 1, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_question_reads_its_rendered_video() -> None:
    video = pickle.loads(pickle.dumps(Rendered("drawn", 6, gray)))  # as a worker gets it
    ask = Ask("What?", REQUEST, (Footage(video, "v"),))  # of two frames
    readers = Readers(Limits(), lambda _: None, lambda _: None, lambda _: None, 1)
    reading = Reading(ask, decoded=True, urgent=True)
    readers.read(reading)
    reading.wait()
    readers.close()
    [clip] = reading.clips
    assert clip.frames[:, 0, 0, 0].tolist() == [0, 5]
