"""Bodies as they come: videos go to files, and what is left is small, however it is cut."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.server.media import Media, opened
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_body import BodyLimits, BodyScanner
from tests.server.pretended import ample

LIMITS = BodyLimits(10**6, most_json_bytes=10_000, most_values=50)
VIDEO = bytes(range(256)) * 64


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def scanned(body: bytes, stack: ExitStack, step: int = 1000) -> tuple[Any, BodyScanner]:
    """The JSON value that is left of a body, which comes in parts of `step` bytes."""
    scanner = BodyScanner(LIMITS, stack)
    for start in range(0, len(body), step):
        scanner.feed(body[start : start + step])
    return json.loads(scanner.json), scanner


def content_of(url: str, scanner: BodyScanner) -> bytes:
    with (
        opened(url, Media(received=scanner.media), ample()) as file,
        open(file.path, "rb") as content,
    ):
        return content.read()


@pytest.mark.parametrize("step", [7, 997, 10**6])
@pytest.mark.parametrize(
    "escaped", [lambda text: text, lambda text: text.replace("/", "\\/").replace("+", "\\u002B")]
)
def test_a_video_goes_to_a_file(stack: ExitStack, step: int, escaped: Any) -> None:
    """Also where a client escapes its letters, as PHP and .NET do."""
    base64 = b64encode(VIDEO).decode()
    assert "/" in base64 and "+" in base64  # noqa: PT018
    document = {'a\\"b': ["\\", {"video_url": {"url": "URL"}}, "data:text", '"'], "n": 1}
    text = json.dumps(document).replace("URL", escaped(f"data:video/mp4;base64,{base64}"))
    found, scanner = scanned(text.encode(), stack, step)
    url = found['a\\"b'][1]["video_url"].pop("url")
    assert len(url) < 100
    assert content_of(url, scanner) == VIDEO
    document['a\\"b'][1]["video_url"].pop("url")  # type: ignore[index]
    assert found == document


def test_which_strings_are_videos(stack: ExitStack) -> None:
    long = b64encode(VIDEO * 2).decode()[:6000]
    body = {"data": long, "url": f"https://{long[:100]}", "text": f"data:,{long[:2000]}"}
    found, scanner = scanned(json.dumps(body).encode(), stack)
    assert scanner.media.keys() == {found.pop("data")}
    assert found == {"url": body["url"], "text": body["text"]}
    for other in ({"url": f"https://{long}"}, {"text": f"data:,{long}"}, {"a": ["data", long]}):
        found, scanner = scanned(json.dumps(other).encode(), stack)
        assert (found, scanner.media) == (other, {})


def test_each_jpeg_goes_to_a_file(stack: ExitStack) -> None:
    pictures = [b"\xff\xd8\xff" + VIDEO[: 1000 + number] for number in range(6)]
    url = "data:video/jpeg;base64," + ",".join(b64encode(one).decode() for one in pictures)
    found, scanner = scanned(json.dumps({"url": url}).encode(), stack)
    with opened(found["url"], Media(received=scanner.media), ample()) as file:
        assert file.count == 6
        assert [Path(path).read_bytes() for path in file.source] == pictures


def test_all_videos_of_a_body_are_in_one_file(stack: ExitStack) -> None:
    """A body of many would leave the server without file descriptors."""
    videos = [VIDEO[number:] for number in range(9)]
    body = [{"data": b64encode(one).decode()} for one in videos]
    found, scanner = scanned(json.dumps(body).encode(), stack)
    assert len({video.file for video in scanner.media.values()}) == 1
    for one, video in zip(found, videos, strict=True):
        assert content_of(f"data:video/mp4;base64,{one['data']}", scanner) == video


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("!" * 5000, "valid base64"),
        ("AAA=" * 2000, "valid base64"),
        ("A" * 5001, "valid base64"),
        ("A" * 5000 + "\\q", "valid base64"),
        ("/9j/," * 2000, "is empty"),
        ("/9j/" + "A" * 5000 + ",AAAA", "list of JPEGs"),
        ("/9j/," * 30_000 + "/9j/", "may have 20000"),
    ],
)
def test_what_is_no_video(stack: ExitStack, data: str, sentence: str) -> None:
    _, scanner = scanned(f'{{"url": "data:video/jpeg;base64,{data}"}}'.encode(), stack)
    (name,) = scanner.media
    with (
        pytest.raises(Refused, match=sentence),
        opened(f"data:video/jpeg;base64,{name}", Media(received=scanner.media), ample()),
    ):
        pass


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"[" + b"[]," * 30, "more than 50 values"),
        (b"{" + b'"a":1,' * 30, "more than 50 values"),
        (b"[" + b'""' * 60, "more than 50 values"),
        (b"[" + b"1" * 10_001, "beside its videos"),
        (b'["' + b"a" * 10_001, "beside its videos"),
        (b'{"url": "' + b"a" * 10_001, "beside its videos"),
    ],
)
def test_json_that_is_too_large(stack: ExitStack, body: bytes, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as refused:
        scanned(body, stack)
    assert refused.value.status == 413


def test_brackets_in_a_text_are_no_values(stack: ExitStack) -> None:
    assert scanned(json.dumps(["[,{" * 1000]).encode(), stack)[0] == ["[,{" * 1000]
