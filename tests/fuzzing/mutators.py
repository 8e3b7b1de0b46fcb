"""Breaks content as damage and malice do: bits, lengths, pieces, values of JSON, words."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutator = Callable[[Random, bytes, Sequence[bytes]], bytes]
"""From a seed, and all seeds of its kind, to a case."""

_SIZES = (0, 1, 2, 7, 8, 255, 256, 4096, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**24, 2**31 - 1, 2**31)
_HUGE = (2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
# The names of a container's parts, such as moov and fLaC: numbers stand before and behind them.
_NAME = re.compile(rb"[A-Za-z0-9]{4}")
_LONGEST = 400_000

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 0.5, -0.0, 1e308, float("nan"), float("inf"), 10**6, 2**31,
    2**63, 10**400, "", " ", "x", "0", "-1", "None", "../../../etc/passwd", "/dev/zero", "a\0b",
    "\ud800", "\u202egnp.exe", "\x1b[2J", "{{ x }}", "<video>", "x" * 5000, "-" * 50_000,
    "~" * 3000, "[" * 3000, "{[]}", [], [[]], [None], {}, {"": None}, ["a", 1], [1] * 3000,
)  # fmt: skip
_WORDS = (
    "", "\0", "\ufeff", "\u202e", "\ud7ff", "é", "\U0001f600", "\x1b]0;x\x07", "\r", "\r\n\r\n",
    "\t", '"', "'", ",", "{", "}", "[", "]", "<", ">", "{\\p1}", "\\N", "-->", "00:00:00,000",
    "99:99:99,999", "9" * 400, "1e999", "nan", "-1", "<think>", "</think>", "(A)", "\\boxed{",
    "{{", "{%", "%}", "a" * 70_000, "<" * 3000, "{" * 3000, "[" * 3000,
)  # fmt: skip


def bytes_of(rng: Random, seed: bytes, seeds: Sequence[bytes]) -> bytes:
    """One to four changes of bytes: flips, numbers, cuts, repeats, pieces of another seed."""
    content = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        rng.choice(_OF_BYTES)(rng, content, seeds)
        del content[_LONGEST:]
    return bytes(content)


def text_of(rng: Random, seed: bytes, seeds: Sequence[bytes]) -> bytes:
    """Changes of lines and words; now and then of bytes."""
    if rng.random() < 0.25:
        return bytes_of(rng, seed, seeds)
    lines = seed.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0:
            lines[at : at + rng.randrange(1, 4)] = []
        elif kind == 1:
            lines[at:at] = lines[at : at + 3] * rng.choice((1, 2, 300))
        elif kind == 2:
            other = rng.choice(seeds).decode("utf-8", "replace").split("\n")
            lines.insert(at, rng.choice(other))
        else:
            words = re.split(r"(\W+)", lines[at])
            times = 100_000 if rng.random() < 0.02 else 1
            word, place = rng.choice(_WORDS), rng.randrange(len(words))
            words[place] = (word * min(times, _LONGEST // max(1, len(word)) + 1))[:_LONGEST]
            lines[at] = "".join(words)
        lines = lines or [""]
    text = rng.choice(("\n", "\n", "\n", "\r\n", "\r", "")).join(lines)
    coding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8", "utf-16", "cp1252"))
    return text.encode(coding, "replace")[:_LONGEST]


def json_of(rng: Random, seed: bytes, seeds: Sequence[bytes]) -> bytes:
    """Changes of values and keys, wherever they are; now and then of text."""
    if rng.random() < 0.2:
        return text_of(rng, seed, seeds)
    content = json.loads(seed)
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = _changed(rng, content)
    text = json.dumps(content)
    if rng.random() < 0.03:
        deep = rng.choice((100, 990, 5000, 100_000))
        text = text.replace(text[: text.find(":") + 1], "{" + '"a":{' * deep, 1)
    return text.encode()[:_LONGEST]


def json_lines_of(rng: Random, seed: bytes, seeds: Sequence[bytes]) -> bytes:
    """Changes of one of some lines that are JSON; now and then of text."""
    if rng.random() < 0.4:
        return text_of(rng, seed, seeds)
    lines = seed.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at] = json_of(rng, lines[at], seeds) + b"\n"
    return b"".join(lines)


def _changed(rng: Random, content: Any) -> Any:
    """The same content with one place of it changed: the deeper, the rarer."""
    inside = isinstance(content, (dict, list)) and content and rng.random() < 0.85
    if not inside:
        return copy.deepcopy(rng.choice(_VALUES))  # which the next change is of
    key = rng.choice(list(content)) if isinstance(content, dict) else rng.randrange(len(content))
    kind = rng.random()
    if kind < 0.1:
        del content[key]
    elif kind < 0.2 and isinstance(content, dict):
        content[rng.choice((f"{key}x", key.upper(), "", "x" * 300))] = content.pop(key)
    elif kind < 0.25 and isinstance(content, list):
        # Lists in lists, each made so long, would fill the memory of the fuzzer itself.
        is_flat = len(content) < 50 and not isinstance(content[0], (dict, list))
        content *= rng.choice((2, 300)) if is_flat else 2
    else:
        content[key] = _changed(rng, content[key])
    return content


def _flip(rng: Random, content: bytearray, _: Sequence[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if content else 0):
        content[_place(rng, content)] ^= 1 << rng.randrange(8)


def _number(rng: Random, content: bytearray, _: Sequence[bytes]) -> None:
    size = rng.choice((1, 2, 4, 4, 4, 8))
    at = _place(rng, content) if content else 0
    old = int.from_bytes(content[at : at + size], "big")
    wanted = rng.choice((*_SIZES, *_HUGE, old + 1, old - 1, old * 2, len(content)))
    order = rng.choice(("big", "big", "little"))
    content[at : at + size] = (wanted % 256**size).to_bytes(size, order)


def _cut(rng: Random, content: bytearray, _: Sequence[bytes]) -> None:
    del content[rng.randrange(len(content) + 1) :]


def _leave_out(rng: Random, content: bytearray, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(content) + 1)
    del content[at : at + rng.choice((1, 4, 16, 400))]


def _repeat(rng: Random, content: bytearray, _: Sequence[bytes]) -> None:
    at, size = rng.randrange(len(content) + 1), rng.choice((1, 8, 64, 1000))
    content[at:at] = content[at : at + size] * rng.choice((1, 2, 50))


def _noise(rng: Random, content: bytearray, _: Sequence[bytes]) -> None:
    at, size = rng.randrange(len(content) + 1), rng.choice((1, 4, 32, 500))
    content[at : at + rng.choice((0, size))] = rng.randbytes(size)


def _splice(rng: Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    begin, at = rng.randrange(len(other) + 1), rng.randrange(len(content) + 1)
    content[at:] = other[begin:]


def _place(rng: Random, content: bytearray) -> int:
    """Of a byte: often near a name, or in the first ones, for there a container says what it is."""
    kind = rng.random()
    if kind < 0.4:
        start = rng.randrange(len(content))
        name = _NAME.search(content, start)
        if name is not None:
            return max(0, min(len(content) - 1, name.start() + rng.randrange(-8, 40)))
    return rng.randrange(min(len(content), 128) if kind < 0.6 else len(content))


_OF_BYTES = (_flip, _flip, _number, _number, _number, _cut, _leave_out, _repeat, _noise, _splice)
