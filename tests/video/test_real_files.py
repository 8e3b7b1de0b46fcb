"""Real footage by facts known from elsewhere; files that name other files are read alone."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import av.format
import numpy as np
import pytest
from PIL import Image

from dycoke_cli.errors import VideoError
from dycoke_cli.video import containers, files
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.files import CONTAINERS, PICTURES, SUFFIXES, spooled
from dycoke_cli.video.sampling import Sampling
from tests.video.clips import Recipe, numbers_in
from tests.video.conftest import MakeClip
from tests.video.inside import opened, probe, read

RealVideo = Callable[[str], Path]


@dataclass(frozen=True)
class Known:
    """What is known of a file: number of frames, and the time of the last."""

    name: str
    size: tuple[int, int]
    frames: int
    last_s: float
    codec: str = "h264"


KNOWN = [
    Known("bikes.mp4", (640, 272), 250, 249 / 25),
    Known("flower.mp4", (960, 540), 150, 149 * 1001 / 30000),
    Known("flower.webm", (960, 540), 150, 149 * 1001 / 30000, "vp8"),
    Known("flower-fragmented.mp4", (960, 540), 150, 149 * 1001 / 30000),
    Known("friday.mp4", (640, 480), 185, 184 / 30),
    Known("nasa.mp4", (480, 270), 390, 389 * 1001 / 30000),
    Known("fire_vfr_rotated.mp4", (1280, 720), 25, 2.2798),
    Known("hevc.mp4", (128, 128), 10, 0.9, "hevc"),
    Known("one_pixel.mp4", (1, 1), 5, 4.0),
    Known("no_duration.webm", (1280, 720), 74, 4.872, "vp9"),
]


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_readable_files(real_video: RealVideo, known: Known) -> None:
    clip = read(real_video(known.name), Sampling(frames=6))
    width, height = known.size
    assert clip.frames.shape == (min(6, known.frames), height, width, 3)
    assert clip.timestamps_s[0] == 0
    assert clip.timestamps_s[-1] == pytest.approx(known.last_s, abs=0.002)
    assert list(clip.timestamps_s) == sorted(set(clip.timestamps_s))
    assert clip.info.codec == known.codec
    assert clip.warnings == ()


ROOT = Path(__file__).parents[2]

REFUSED = "is a text file, not|can be read: it is another kind of file"


def concat(name: str) -> str:
    return f"ffconcat version 1.0\nfile '{name}'\n"


def hls(name: str) -> str:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n"


def dash(name: str) -> str:
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT2S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">'
        '<Period><AdaptationSet mimeType="video/mp4"><Representation id="0" bandwidth="1">'
        f"<BaseURL>{name}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )


LISTS = {"concat": concat, "hls": hls, "dash": dash}


@pytest.fixture
def secret(tmp_path: Path, make_clip: MakeClip) -> Path:
    """A video that nobody named on the command line."""
    path = tmp_path / "secret.ts"
    path.write_bytes(make_clip(Recipe(suffix=".ts")).path.read_bytes())
    return path


def refused(path: Path | str) -> None:
    for look in (probe, read):
        with pytest.raises(VideoError, match=REFUSED):
            look(path)  # type: ignore[operator]


@pytest.mark.parametrize("kind", list(LISTS))
@pytest.mark.parametrize("prefix", ["", "file:"])
def test_list_of_files_is_refused(
    tmp_path: Path, secret: Path, kind: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate((secret.name, str(secret), f"{tmp_path}/../{secret}")):
        path = tmp_path / f"{number}.mp4"
        path.write_text(LISTS[kind](prefix + name))
        refused(path)
        with path.open("rb") as stdin, spooled(stdin) as file:
            refused(f"/proc/self/fd/{file.fileno()}")


@pytest.mark.parametrize("kind", list(LISTS))
def test_even_an_open_list_opens_no_file(
    tmp_path: Path, secret: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second fence: were the format allowed, its files would be out of reach."""
    monkeypatch.setattr(containers, "_FORMATS", f"{containers._FORMATS},{kind}")
    path = tmp_path / "list.mp4"
    for name in (secret.name, str(secret), f"file:{secret}"):
        path.write_text(LISTS[kind](name))
        with pytest.raises(VideoError):
            read(path)


def test_list_that_names_a_pipe_hangs_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ts")
    with Decoder() as decoder:
        for kind, text in LISTS.items():
            path = tmp_path / f"{kind}.mp4"
            path.write_text(text("pipe.ts"))
            with pytest.raises(VideoError, match=REFUSED):
                decoder.read(str(path), Sampling())


def naming(content: bytes, name: str) -> bytes:
    """A QuickTime file, its index last, whose track is said to lie in another file beside it."""
    path = f"/x/{name}".encode()
    path += b"\0" * (len(path) % 2)
    alias = bytearray(150)
    struct.pack_into(">HH", alias, 130, 1, 1)  # the name is relative: one folder up, one down
    alias += struct.pack(">HH", 2, len(path)) + path + struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    here = content.index(b"url \0\0\0\1") - 4
    changed = bytearray(content[:here] + entry + content[here + 12 :])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = content.rindex(kind, 0, here) - 4
        size = int.from_bytes(changed[at : at + 4]) + len(entry) - 12
        changed[at : at + 4] = size.to_bytes(4)
    return bytes(changed)


def test_track_in_another_file_is_not_read(tmp_path: Path, make_clip: MakeClip) -> None:
    content = make_clip(Recipe(suffix=".mov")).path.read_bytes()
    (tmp_path / "secret.mov").write_bytes(content)
    path = tmp_path / "clip.mov"
    path.write_bytes(naming(content, "secret.mov"))
    with av.open(str(path), options={"enable_drefs": "1"}) as container:
        assert sum(1 for _ in container.decode(video=0)) == 50  # so it would be read
    with pytest.raises(VideoError, match="not one picture in it can be decoded"):
        read(path)


@pytest.mark.parametrize("name", ["img%d.png", "img%03d.png", "img*.png", "img?.png", "a.Y.png"])
def test_picture_is_the_file_that_was_named(tmp_path: Path, name: str) -> None:
    for other in ("img0.png", "img1.png", "img001.png", "imgx.png"):
        Image.new("RGB", (16, 16), (0, 0, 200)).save(tmp_path / other)
    Image.new("RGB", (16, 16), (200, 0, 0)).save(tmp_path / name)
    clip = read(tmp_path / name)
    assert clip.frames.shape == (1, 16, 16, 3)
    assert clip.frames[0, 0, 0].tolist() == [200, 0, 0]


def test_pattern_that_is_no_file(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "img1.png")
    with pytest.raises(VideoError, match="doesn't exist"):
        read(tmp_path / "img%d.png")


def test_pipe_that_takes_a_files_place_is_not_waited_for(
    tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "clip.mp4")
    regular = os.stat(make_clip(Recipe()).path)
    monkeypatch.setattr(files.os, "stat", lambda path: regular)
    with pytest.raises(VideoError, match="is a pipe"):
        read(tmp_path / "clip.mp4")


def test_file_that_is_replaced_while_it_is_read(tmp_path: Path, make_clip: MakeClip) -> None:
    path = tmp_path / "clip.mkv"  # its frames are counted, so it is opened twice
    path.write_bytes(make_clip(Recipe(suffix=".mkv")).path.read_bytes())
    with opened(path, Sampling(frames=3), None) as reader:
        (tmp_path / "other").write_text("no video")
        (tmp_path / "other").rename(path)
        frames = np.stack([frame for _, frame in reader.frames()])
        assert numbers_in(frames) == [0, 24, 49]


def test_no_file_stays_open(make_clip: MakeClip, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        read(make_clip(Recipe(suffix=".mkv")).path, Sampling(frames=3))
        refused(tmp_path / "text.mp4")
    assert os.listdir("/proc/self/fd") == before


def test_a_photo_in_tiles_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    """FFmpeg shows each tile as a stream."""
    path = tmp_path / "photo.heic"
    with av.open(str(path), "w", format="mp4", options={"brand": "heic"}) as container:
        tiles = [container.add_stream("libx264", rate=1) for _ in range(6)]
        for tile in tiles:
            tile.width = tile.height = 64
            tile.pix_fmt = "yuv420p"
        for tile in tiles:
            picture = av.VideoFrame(64, 64, "yuv420p")
            picture.pts = 0
            container.mux([*tile.encode(picture), *tile.encode(None)])
    with pytest.raises(VideoError) as error:
        read(path)
    assert str(error.value) == (
        f"{path} is a photo that is stored in tiles, which FFmpeg doesn't join: convert it first "
        "(`heif-convert photo.heic photo.jpg`, or on a Mac "
        "`sips -s format jpeg photo.heic --out photo.jpg`)"
    )


def test_a_folder_is_searched_for_files_of_every_format() -> None:
    """By FFmpeg's own lists of extensions, without those of audio, pictures and playlists."""
    others = {".aac", ".m4a", ".ism", ".isma", ".avif", ".heic", ".heif", ".psp", ".mka", ".mks"}
    others |= {".m4b", ".mpo", ".ra", ".ogg", ".jpg"}  # 3D photos and sound; a still picture
    for name in CONTAINERS:
        known = av.format.ContainerFormat(name, "r").extensions
        assert {f".{one}" for one in known} - others <= SUFFIXES, name
    assert {*containers._FORMATS.split(",")} >= {*CONTAINERS}
    assert not SUFFIXES & PICTURES
    # Each format has a suffix, apart from those that share one.
    assert {name for name, suffixes in CONTAINERS.items() if not suffixes} == {"asf_o"}


def test_the_guide_lists_the_suffixes() -> None:
    guide = (ROOT / "docs" / "guide.md").read_text()
    for suffixes in (SUFFIXES, PICTURES):
        assert ", ".join(f"`{suffix}`" for suffix in sorted(suffixes)) in guide


def test_formats_are_known_to_ffmpeg() -> None:
    for name in containers._FORMATS.split(","):
        assert av.format.ContainerFormat(name, "r").is_input, name
