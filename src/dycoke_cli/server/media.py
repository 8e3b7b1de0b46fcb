"""Videos of requests, as files: what is in the request, in the folder for media, or fetched.

Requests are untrusted: only files below `--media-root` are opened, and addresses are fetched only
with `--allow-http`.
"""

from __future__ import annotations

import binascii
import hashlib
import os
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dycoke_cli.server.fetching import fetch
from dycoke_cli.server.refused import Refused

_JPEG = b"\xff\xd8\xff"
_FILE_URL = "file://"
FRAMES_PER_SECOND = 25
"""What FFmpeg takes for the rate of a stream of JPEGs."""


@dataclass(frozen=True)
class Media:
    """Where videos may come from.

    Args:
        root: the folder whose files requests may name; None for no files.
        allow_http: whether addresses are fetched.
        most_bytes: of a video that is fetched.
        timeout_s: for all of a fetch.
    """

    root: Path | None = None
    allow_http: bool = False
    most_bytes: int = 256 * 1024**2
    timeout_s: float = 30.0


@dataclass(frozen=True)
class MediaFile:
    """A video that can be read.

    Args:
        path: of the file.
        digest: tells its content from that of others.
        shown: what to call it in errors.
        frames: how many JPEGs it consists of; None of a video.
    """

    path: str
    digest: str
    shown: str
    frames: int | None = None


@contextmanager
def opened(url: str, media: Media) -> Iterator[MediaFile]:
    """The file of an address, for the length of a block; one made for it is removed afterwards.

    Raises:
        Refused: such an address isn't taken, or nothing can be read there.
    """
    scheme = url.partition(":")[0].lower()
    if scheme == "file":
        yield _below(url, media.root)
        return
    frames = None
    if scheme == "data":
        content, frames = _inline(url)
    elif scheme in ("http", "https"):
        if not media.allow_http:
            raise Refused(400, "this server fetches no addresses (--allow-http): send the video")
        content = fetch(url, media.most_bytes, media.timeout_s)
    else:
        raise Refused(400, "the url of a video must begin with data:, file:// or http")
    digest = hashlib.sha256(content).hexdigest()
    with tempfile.TemporaryDirectory(prefix="dycoke-serve-") as folder:
        path = os.path.join(folder, "video")
        Path(path).write_bytes(content)
        del content
        yield MediaFile(path, digest, "the video", frames)


def _below(url: str, root: Path | None) -> MediaFile:
    """The file below the folder for media that a URL names."""
    if root is None:
        raise Refused(400, "this server reads no files (--media-root): send the video")
    parts = urlsplit(url)
    if not url[: len(_FILE_URL)].lower() == _FILE_URL or parts.netloc not in ("", "localhost"):
        raise Refused(400, "a file's url is file:// and its whole path")
    # The same error for files outside and missing files: nobody learns what other folders have.
    missing = Refused(404, "there is no such file below the folder for media", "video_unreadable")
    try:
        # Resolved before the check, so that neither `..` nor a link leads outside.
        real = Path(unquote(parts.path, errors="surrogateescape")).resolve(strict=True)
        inside = real.is_relative_to(root.resolve()) and real.is_file()
        status = real.stat()
    except (OSError, ValueError, RuntimeError) as error:
        raise missing from error
    if not inside:
        raise missing
    about = (os.fspath(real), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return MediaFile(os.fspath(real), hashlib.sha256(repr(about).encode()).hexdigest(), real.name)


def _inline(url: str) -> tuple[bytes, int | None]:
    """The content of a `data:` URL, and of how many JPEGs it consists, where it is such a list."""
    head, comma, data = url.partition(",")
    kind, _, encoding = head[len("data:") :].partition(";")
    if not comma or encoding.lower() != "base64":
        raise Refused(400, "a data: url must be data:video/mp4;base64,… (or of another video type)")
    if kind.lower() != "video/jpeg":
        return _decoded(data), None
    pictures = [_decoded(one) for one in data.split(",")]
    if not all(picture.startswith(_JPEG) for picture in pictures):
        raise Refused(400, "data:video/jpeg;base64,… is a list of JPEGs with commas between them")
    return b"".join(pictures), len(pictures)


def _decoded(data: str) -> bytes:
    try:
        content = b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, "the video isn't valid base64") from error
    if not content:
        raise Refused(400, "the video is empty")
    return content
