"""How names are shown, and how files are refused: each with its own sentence, and exit code 3."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from dycoke_cli.errors import VideoError
from dycoke_cli.unicode import display_name
from dycoke_cli.video.sampling import Sampling
from tests.video.clips import Recipe, numbers_in, write_sound
from tests.video.conftest import MakeClip
from tests.video.inside import probe, read

DIARY = "Dear diary, today I filmed nothing.\n" * 50
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def refused(path: Path | str) -> str:
    """The sentence with which both `probe` and `read` refuse a path."""
    with pytest.raises(VideoError) as probed:
        probe(path)
    with pytest.raises(VideoError) as decoded:
        read(path)
    assert str(probed.value) == str(decoded.value)
    assert probed.value.exit_code == 3
    assert "\n" not in str(probed.value)
    return str(probed.value)


NAMED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "{} doesn't exist: check the spelling and the folder"),
    "folder": (Path.mkdir, "{} is a folder without pictures: name one video file"),
    "pipe": (os.mkfifo, "{} is a pipe: give its content on stdin, with - as the video"),
    "link to itself": (
        lambda path: path.symlink_to(path),
        "{} can't be read (Too many levels of symbolic links)",
    ),
    "link to nothing": (
        lambda path: path.symlink_to(path.with_name("gone.mp4")),
        "{} is a link to a file that isn't there",
    ),
    "empty": (Path.touch, "{} is empty (0 bytes)"),
    "text": (lambda path: path.write_text(DIARY), "{} is a text file, not a video"),
    "web page": (
        lambda path: path.write_bytes(b"\n<!DOCTYPE html><html><body>Log in"),
        "{} is a text file, not a",
    ),
    "pointer": (
        lambda path: path.write_bytes(POINTER),
        "{} is only a Git LFS pointer: fetch the file itself with `git lfs pull`",
    ),
}
"""What is made at a path, and how the sentence about it begins."""


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".ts", ""])
@pytest.mark.parametrize("kind", NAMED)
def test_what_is_no_video_is_named(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"one{suffix}"
    make, sentence = NAMED[kind]
    make(path)
    assert refused(path).startswith(sentence.format(path))


def test_a_file_used_as_a_folder_and_a_picture_that_is_a_pointer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "doesn't exist" in refused(tmp_path / "file" / "clip.mp4")
    (tmp_path / "b.png").write_bytes(POINTER)
    assert "is only a Git LFS pointer" in refused(tmp_path / "b.png")


def test_device_and_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused("/dev/zero") == "/dev/zero is a device or a socket: name a video file"
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the name of a socket may be 107 bytes long
        server.bind("s")
        assert refused("s") == "s is a device or a socket: name a video file"


def test_link_to_a_video_is_followed(tmp_path: Path, make_clip: MakeClip) -> None:
    (tmp_path / "link.mp4").symlink_to(make_clip(Recipe()).path)
    assert probe(tmp_path / "link.mp4").frame_count == 50


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.mp4"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    sentence = refused(path)
    monkeypatch.undo()
    assert sentence == f"{path} can't be read (Permission denied): check its name, owner and disk"


def test_names_that_no_file_can_have() -> None:
    assert "that is no name of a file" in refused("a\0b.mp4")
    assert "(File name too long)" in refused("a" * 5000 + ".mp4")


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/a.mp4",
        "https://example.org/a",
        "s3://b/k",
        "rtsp:/camera/1",
        "RTMPS://l",
    ],
)
def test_address(address: str) -> None:
    assert refused(address).startswith(f"{address} is an address, not a file: download it first (")
    assert "download it first" in refused(Path(address))  # type: ignore[arg-type]


def test_an_mp4_without_its_index(tmp_path: Path, make_clip: MakeClip) -> None:
    """As a download that stopped leaves it: the index is at the end, unless it was moved."""
    whole = make_clip(Recipe(suffix=".mp4", codec="libx264")).path.read_bytes()
    index = whole.index(b"moov") - 4
    path = tmp_path / "part.mp4"
    # A 64-bit length and one to the end of the file, as long recordings have them; and one that
    # no file has.
    media = whole.index(b"mdat") - 4
    length = int.from_bytes(whole[media : media + 4])
    long = (1).to_bytes(4) + b"mdat" + (length + 8).to_bytes(8) + whole[media + 8 : media + length]
    for part, state in (
        (whole[:index], "is missing"),
        (whole[: index - 100], "is missing"),
        (whole[: index + 40], "is cut off"),
        (whole[:media] + long, "is missing"),
        (whole[:media] + bytes(4) + whole[media + 4 : index], "is missing"),
        (whole[:media] + (1).to_bytes(4) + b"mdat" + (2**63).to_bytes(8) + bytes(40), "is missing"),
    ):
        path.write_bytes(part)
        assert refused(path).startswith(f"{path} can't be read: its index (the moov box) {state}")
        assert "download it again" in refused(path)
    # Other damage isn't taken for it.
    path.write_bytes(
        whole[:index] + whole[index:].replace(b"stbl", b"xxxx").replace(b"trak", b"yyyy")
    )
    assert "moov" not in refused(path)


@pytest.mark.parametrize("size", [1, 7, 40, 400])
def test_cut_after_a_few_bytes(tmp_path: Path, make_clip: MakeClip, size: int) -> None:
    for suffix, codec in ((".mp4", "libx264"), (".webm", "libvpx"), (".mkv", "libx264")):
        whole = make_clip(Recipe(suffix=suffix, codec=codec)).path.read_bytes()
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(whole[:size])
        sentence = refused(path)
        known = ("isn't a video that can be read", "can be decoded", "its index (the moov box)")
        assert any(cause in sentence for cause in known)


def test_playlist_cant_reach_out(tmp_path: Path) -> None:
    called = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)

        def answer() -> None:
            with suppress(TimeoutError):
                while True:
                    server.accept()[0].close()
                    called.set()

        listener = threading.Thread(target=answer)
        listener.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", address, "#EXT-X-ENDLIST", ""]
        (tmp_path / "list.m3u8").write_text("\n".join(lines))
        refused(tmp_path / "list.m3u8")
        listener.join()
    assert not called.is_set()


def test_audio_only(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "song.m4a")
    assert refused(path) == f"{path} has no video in it, only sound: name a video file"


def test_stdin_name_stands_for_the_path(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"^the video on stdin doesn't exist"):
        read(tmp_path / "x", shown_as="the video on stdin")


NAMES = [
    "-x.mp4",
    "--frames.mp4",
    "my clip.mp4",
    "🎬.mp4",
    "a\nb.mp4",
    "\x1b[31m.mp4",
    "concat:a|b.mp4",
    "http:x.mp4",
    "a%03d.mp4",
    "b\udce9.mp4",
    "a'b\"c$(d).mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_read(
    tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(make_clip(Recipe()).path.read_bytes())
    clip = read(name, Sampling(frames=1, start_s=0.4, end_s=0.42))
    assert numbers_in(clip.frames[:1]) == [10]
    assert clip.info.path.isprintable()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("-my [red] Übung, 映画 🎬👩‍🚀.mov", "-my [red] Übung, 映画 🎬👩‍🚀.mov"),
        (Path("a") / "b\r\n.mp4", r"a/b\r\n.mp4"),
        (b"a\t\xff", r"a\t\xff"),
        ("\x1b[31mred\x1b[0m.mp4", r"\x1b[31mred\x1b[0m.mp4"),
        ("a\x9bb", r"a\x9bb"),
        ("gpj\u202e4pm", r"gpj\u202e4pm"),
        ("a\u2028b", r"a\u2028b"),
        (os.fsdecode(b"caf\xe9.mp4"), r"caf\xe9.mp4"),
    ],
)
def test_what_could_move_the_cursor_is_escaped(name: str | bytes | Path, shown: str) -> None:
    assert display_name(name) == shown
