"""Videos of requests: what is opened, and above all what isn't."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path

import pytest

from dycoke_cli.server.media import Media, opened, opened_pictures
from dycoke_cli.server.refused import Refused
from tests.server.pretended import ample

JPEG = b"\xff\xd8\xff\xe0 a picture"


def refusal(url: str, media: Media) -> Refused:
    with pytest.raises(Refused) as caught, opened(url, media, ample()):
        pass
    return caught.value


def data(content: bytes, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"


def test_a_video_in_the_request_is_gone_afterwards() -> None:
    with (
        opened(data(b"one"), Media(), ample()) as one,
        opened(data(b"two"), Media(), ample()) as two,
    ):
        assert Path(one.path).read_bytes() == b"one"
        assert (
            os.stat(one.path).st_mode & 0o077 == 0
            or os.stat(os.path.dirname(one.path)).st_mode & 0o077 == 0
        )
        assert one.digest != two.digest
        assert one.count is None
    assert not os.path.exists(one.path)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("data:video/mp4;base64,!!!!", "isn't valid base64"),
        ("data:video/mp4;base64,", "is empty"),
        ("data:video/mp4,AAAA", "must be data:video/mp4;base64"),
        ("data:", "must be data:video/mp4;base64"),
        (data(b"no picture", "video/jpeg"), "a list of JPEGs"),
        ("data:video/jpeg;base64,/9j/,", "is empty"),
        ("ftp://example.org/x.mp4", "must begin with"),
        ("/etc/passwd", "must begin with"),
        ("http://example.org/x.mp4", "no address is fetched: send the video"),
        ("file:///etc/passwd", "reads no files"),
    ],
)
def test_what_is_not_taken(url: str, sentence: str) -> None:
    assert sentence in str(refusal(url, Media()))


def test_files_below_the_folder_for_media(tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret.mp4"
    (root / "a b").mkdir(parents=True)
    secret.write_bytes(b"secret")
    video = root / "a b" / "ü.mp4"
    video.write_bytes(b"video")
    (root / "out").symlink_to(secret)
    (root / "up").symlink_to(tmp_path)
    (root / "in").symlink_to(video)
    os.mkfifo(root / "pipe")
    media = Media((root,))
    for url in (video.as_uri(), f"file://localhost{video.as_uri()[7:]}", f"file://{root}/in"):
        with opened(url, media, ample()) as file:
            assert Path(file.path).read_bytes() == b"video"
            assert "root" not in file.name
    missing = str(refusal(f"file://{root}/nosuch.mp4", media))
    for path in (
        secret,
        root / ".." / "secret.mp4",
        root / "out",
        root / "up" / "secret.mp4",
        root / "%2e%2e" / "secret.mp4",
        root / "..%2fsecret.mp4",
        root / "pipe",
        root,
        f"{root}-other/x",
        "/etc/passwd",
        "elsewhere/x.mp4",
        "/dev/zero",
        "/proc/self/environ",
        f"{root}/\0",
        f"{root}/{'x' * 5000}",
        "",
    ):
        assert str(refusal(f"file://{path}", media)) == missing, path
    for url in ("file:etc/passwd", "file:/etc/passwd", "file://[/x"):
        assert refusal(url, media).status == 400


def test_a_file_that_changed_is_another_video(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    digests = set()
    for content in (b"one", b"other"):
        path.write_bytes(content)
        with opened(path.as_uri(), Media((tmp_path,)), ample()) as file:
            digests.add(file.digest)
    assert len(digests) == 2


def test_pictures_are_the_frames_of_one_video(tmp_path: Path) -> None:
    """In order, from the request and from files; they are another video in another order."""
    (tmp_path / "b.png").write_bytes(b"second")
    urls = [data(b"first", "image/png"), (tmp_path / "b.png").as_uri()]
    media = Media((tmp_path,))
    with (
        opened_pictures(urls, media, ample()) as file,
        opened_pictures(urls[::-1], media, ample()) as other,
    ):
        assert [Path(path).read_bytes() for path in file.source] == [b"first", b"second"]
        assert file.count == 2
        assert file.digest != other.digest
    assert not os.path.exists(file.source[0])
    assert os.path.exists(file.source[1])
