"""Xet, in which the hub stores its large files: what a client asks for in place of a file.

A file is a list of terms, each a range of the chunks of a block; the client fetches the blocks and
puts their chunks behind one another. Here a block is a part of one file, and nothing is compressed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_CHUNK = 1 << 16
_HEADER = 8
_CHUNKS = 512
"""In a block."""


def blocks(size: int) -> int:
    """How many blocks a file of that many bytes has."""
    return -(-size // (_CHUNK * _CHUNKS))


def reconstruction(size: int, begin: int, end: int, url: Callable[[int], str]) -> dict[str, Any]:
    """The terms of a file, and where their blocks are.

    Args:
        size: of the file, in bytes.
        begin: of the bytes that are asked for.
        url: of a block of the file, by its number from 0.
    """
    length = _CHUNK * _CHUNKS
    terms, fetch = [], {}
    for number in range(begin // length, blocks(min(size, end))):
        content = min(length, size - number * length)
        chunks = {"start": 0, "end": -(-content // _CHUNK)}
        name = f"{number:064x}"
        terms.append({"hash": name, "unpacked_length": content, "range": chunks})
        last = content + _HEADER * chunks["end"] - 1
        fetch[name] = [
            {"range": chunks, "url": url(number), "url_range": {"start": 0, "end": last}}
        ]
    return {"offset_into_first_range": begin % length, "terms": terms, "fetch_info": fetch}


def block(number: int, content: bytes) -> Iterator[bytes]:
    """A block of a file, by its number from 0, as it is sent: each chunk behind its header."""
    first = number * _CHUNK * _CHUNKS
    for begin in range(first, min(first + _CHUNK * _CHUNKS, len(content)), _CHUNK):
        chunk = content[begin : begin + _CHUNK]
        length = len(chunk).to_bytes(3, "little")
        yield b"\0" + length + b"\0" + length + chunk
