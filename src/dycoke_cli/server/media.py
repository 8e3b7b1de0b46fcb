"""Videos of requests, as files: what is in the request, or in the folder for media.

Requests are untrusted: only files below the folders for media are opened, and no address is.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import os
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dycoke_cli import Footage
from dycoke_cli.server.limits import Allowance
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_body import Spooled, data_url
from dycoke_cli.storage.output_file import temporary_folder

JPEGS = "video/jpeg"
"""Type of a `data:` URL with a list of JPEGs."""
_JPEG = b"\xff\xd8\xff"
_ALPHABET = bytes.maketrans(b"-_", b"+/")  # of base64 in URLs
_LINE_ENDS = b"\r\n"
_FILE_URL = "file://"
_PIECE_BYTES = 1024**2  # equivalent: pieces of any size
_MOST_PICTURES = 20_000
_LONGEST_ESCAPE = 6


@dataclass(frozen=True)
class Media:
    """Where videos may come from."""

    roots: tuple[Path, ...] = ()  # the folders whose files requests may name
    # the videos of a request's body, by the names that stand for them
    received: Mapping[str, Spooled] = field(default_factory=dict)


@contextmanager
def opened(url: str, media: Media, allowance: Allowance) -> Iterator[Footage]:
    """The file of an address, for the length of a block; one made for it is removed afterwards."""
    if url.partition(":")[0].lower() == "file":
        yield _below(url, media.roots)
        return
    with temporary_folder() as folder:
        yield _file(url, media, allowance, os.path.join(folder, "video"))


@contextmanager
def opened_pictures(urls: Sequence[str], media: Media, allowance: Allowance) -> Iterator[Footage]:
    """The pictures of some addresses, as the frames of one video, for the length of a block."""
    digest = hashlib.sha256()
    paths: list[str] = []
    with temporary_folder() as folder:
        for number, url in enumerate(urls):
            one = _file(url, media, allowance, os.path.join(folder, str(number)))
            digest.update((one.digest or "").encode())
            paths.append(one.path)
        yield _sent(tuple(paths), digest.hexdigest())


def _sent(path: str | tuple[str, ...], digest: str) -> Footage:
    """A video of a request, or its pictures; a digest tells its content from that of others."""
    count = len(path) if isinstance(path, tuple) else None
    return Footage(path, "the video", digest=digest, shown_as="the video", count=count)


def _file(url: str, media: Media, allowance: Allowance, path: str) -> Footage:
    """The file of an address; what isn't one already is written to `path`."""
    scheme = url.partition(":")[0].lower()
    if scheme == "file":
        return _below(url, media.roots)
    if scheme == "data":
        return _write_inline(url, media.received, path, allowance)
    raise Refused(
        "the url of a video must begin with data: or, below the server's --media-root, file://; "
        "no address is fetched: send the video"
    )


def _below(url: str, roots: Sequence[Path]) -> Footage:
    """The file below a folder for media that a URL names."""
    if not roots:
        raise Refused("this server reads no files (--media-root): send the video")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Refused("the url of the video isn't one") from error
    if not url[: len(_FILE_URL)].lower() == _FILE_URL:
        raise Refused("a file's url is file:// and its path")
    # As in vLLM, a path without a leading slash begins in the folder where the server was started.
    path = parts.path if parts.netloc == "localhost" else parts.netloc + parts.path
    real = inside(Path(unquote(path, errors="surrogateescape")), roots)
    if real is None:
        # The same error for files outside and missing files: nobody learns what other folders have.
        raise Refused(
            "there is no such file below the folder for media", status=404, code="video_unreadable"
        )
    status = real.stat()
    about = (os.fspath(real), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    digest = hashlib.sha256(repr(about).encode()).hexdigest()
    return Footage(os.fspath(real), real.name, digest=digest, shown_as=real.name)


def inside(path: Path, roots: Sequence[Path]) -> Path | None:
    """The file at a path, if it is below one of some folders.

    Resolved before the check, so that neither `..` nor a link leads outside.
    """
    try:
        real = path.resolve(strict=True)
        is_below = any(map(real.is_relative_to, (root.resolve() for root in roots)))
        return real if is_below and real.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _write_inline(
    url: str, received: Mapping[str, Spooled], path: str, allowance: Allowance
) -> Footage:
    """Write the content of a `data:` URL to a file, or each JPEG of a list to its own."""
    kind, start = data_url(url)
    data = url[start:]
    if not start:
        raise Refused(
            "a data: url must be data:video/mp4;base64,… (or of another video or picture type)"
        )
    pieces = _pieces(received[data]) if data in received else [data.encode("utf-8", "replace")]
    with closing(_Base64Writer(path, allowance)) as writer:
        if kind != JPEGS:
            for piece in pieces:
                writer.add(piece)
            writer.end()
            return _sent(path, writer.digest.hexdigest())
        paths = [path]
        for piece in pieces:
            if len(paths) + piece.count(b",") > _MOST_PICTURES:
                raise Refused(f"a list of JPEGs may have {_MOST_PICTURES}")
            first, *others = piece.split(b",")
            writer.add(first)
            for other in others:
                _end_picture(writer)
                paths.append(f"{path}-{len(paths)}")
                writer.begin(paths[-1])
                writer.add(other)
        _end_picture(writer)
        return _sent(tuple(paths), writer.digest.hexdigest())


def _end_picture(writer: _Base64Writer) -> None:
    if writer.end() != _JPEG:
        raise Refused("data:video/jpeg;base64,… is a list of JPEGs with commas between them")


class _Base64Writer:
    """Decodes base64 that comes in pieces, and writes it to a file."""

    def __init__(self, path: str, allowance: Allowance) -> None:
        self.digest = hashlib.sha256()
        self._file, self._allowance = open(path, "wb"), allowance  # noqa: SIM115
        self._rest = self._begin = b""

    def begin(self, path: str) -> None:
        """Write to this file from now on."""
        self.close()  # equivalent: CPython closes a file that is replaced
        self._file = open(path, "wb")  # noqa: SIM115

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add(self, text: bytes) -> None:
        """Decode the next piece; its last characters are left, as they may be padded."""
        text = self._rest + text.translate(_ALPHABET, _LINE_ENDS)
        whole = max(0, len(text) - 1) // 4 * 4
        if b"=" in text[:whole]:
            raise _not_base64()
        self._decode(text[:whole])
        self._rest = text[whole:]

    def end(self) -> bytes:
        """Decode what is left, padded or not; gives the first bytes of all since the last end."""
        self._decode(self._rest + b"=" * (-len(self._rest) % 4))
        if not self._begin:
            raise Refused("the video is empty")
        begin, self._rest, self._begin = self._begin, b"", b""
        return begin

    def _decode(self, text: bytes) -> None:
        self._allowance.check()
        try:
            content = b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _not_base64() from error
        self._begin = (self._begin + content[: len(_JPEG)])[: len(_JPEG)]
        self.digest.update(content)
        self._file.write(content)


def _pieces(video: Spooled) -> Iterable[bytes]:
    """The content of a JSON string in a file, a piece at a time."""
    video.file.seek(video.start)
    rest, left = b"", video.size
    while left:
        piece = video.file.read(min(left, _PIECE_BYTES))
        left -= len(piece)
        piece = rest + piece
        # Some clients escape "/" or "+", and an escape may be cut off.
        cut = piece.rfind(b"\\", max(0, len(piece) - _LONGEST_ESCAPE + 1))
        piece, rest = (piece, b"") if cut < 0 else (piece[:cut], piece[cut:])
        yield _unescaped(piece)
    yield _unescaped(rest)


def _unescaped(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    try:
        found: str = json.loads(b'"%s"' % text)
    except ValueError as error:
        raise _not_base64() from error
    return found.encode("utf-8", "replace")


def _not_base64() -> Refused:
    return Refused("the video isn't valid base64")
