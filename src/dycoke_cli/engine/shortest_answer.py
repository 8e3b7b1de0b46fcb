"""Lower bound of the length of an answer that has a schema, in tokens of a vocabulary.

The bound adds up pieces of text that each answer has: brackets, names of required fields, the
shortest of some values. A token that covers parts of several pieces counts for the piece in which
it begins. What isn't known of a schema counts as nothing, so no answer is shorter.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

# In place of what can be written in several ways; no JSON text has this character.
_OPEN = "\0"
_ESCAPE = re.compile(r"\\(?:u[0-9a-f]{4}|.)|\x7f")
_MOST_DIGITS = 18  # of a whole number that is written in one way
# As far as this module reads them, these drafts are alike but for lists of items.
_DRAFTS = ("2020-12", "2019-09", "draft-07", "draft-06")
_OWN_ADDRESS = {"$id", "$schema"}
_MOST_ROUNDS = 16
_MOST_VALUES = 256  # of which the shortest is sought
# Work on pieces of one schema: their bytes, and for each as much as some bytes more.
_MOST_BYTES, _BYTES_PER_PIECE = 1 << 14, 64


class Vocabulary:
    """Fewest tokens that begin within a piece of any text.

    The first may begin before the piece, and the last may end behind it.

    Args:
        tokens: their bytes; all single bytes are tokens as well.
    """

    def __init__(self, tokens: Iterable[bytes] = ()) -> None:
        long = {token for token in tokens if len(token) > 1}
        self._tokens = long | {bytes([byte]) for byte in range(256)}
        self._lengths = sorted({*map(len, self._tokens)})
        self._starts, self._ends = sorted(long), sorted(token[::-1] for token in long)
        self._inner = b"\xff".join(token[1:] for token in long)  # UTF-8 has no byte 255

    def fewest(self, piece: bytes) -> int:
        """Of a piece, which is UTF-8."""
        size, longest = len(piece), self._lengths[-1]
        if size < longest and piece in self._inner:
            return 0
        # By place: tokens that begin before it, where one ends or begins there.
        fewest = [math.inf] * (size + 1)
        fewest[0] = 0
        for place in range(1, min(size, longest)):
            if _has_longer(self._ends, piece[:place][::-1]):
                fewest[place] = 0
        least = math.inf
        for place in range(size):
            now = fewest[place] + 1
            if now < least and _has_longer(self._starts, piece[place:]):
                least = now
            for length in self._lengths:
                if (end := place + length) > size:
                    break
                if now < fewest[end] and piece[place:end] in self._tokens:
                    fewest[end] = now
        return int(min(least, fewest[size]))

    def fewest_of_any(self, size: int) -> int:
        """Of a piece of so many bytes, whatever they are."""
        longest = self._lengths[-1]
        return max(0, -((longest - 1 - size) // longest))


def _has_longer(tokens: Sequence[bytes], start: bytes) -> bool:
    """Whether one of sorted tokens begins with these bytes, and is longer."""
    place = bisect_left(tokens, start + b"\0")
    return place < len(tokens) and tokens[place].startswith(start)


def fewest_tokens(definition: str, vocabulary: Vocabulary | None = None) -> int:
    """Lower bound of the tokens of an answer.

    Args:
        vocabulary: of the model; None has the single bytes.
    """
    vocabulary = vocabulary or Vocabulary()
    schema = json.loads(definition, parse_float=lambda _: _OPEN, parse_int=_whole)
    draft = schema.get("$schema", _DRAFTS[0])
    if not isinstance(draft, str) or not any(name in draft for name in _DRAFTS):
        return 0
    return _Bounds(schema, vocabulary).of_root()


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS and digits != "-0" else _OPEN


class _Bounds:
    """Lower bounds of all parts of a schema that its root needs.

    A bound is computed from those of the parts within, which were computed in the round before and
    are 0 at first. So each round has lower bounds, also where a part contains itself.
    """

    def __init__(self, schema: Mapping[str, Any], vocabulary: Vocabulary) -> None:
        self._root, self._vocabulary = schema, vocabulary
        self._has_prefixes = _DRAFTS[0] in schema.get("$schema", _DRAFTS[0])
        self._pieces: dict[bytes, int] = {}
        self._left = _MOST_BYTES
        self._parts: list[Mapping[str, Any]] = []
        self._found: dict[int, int] = {}

    def of_root(self) -> int:
        """The bound of the root, when the bounds stay as they are or after enough rounds."""
        self._within(self._root)
        for part in self._parts:  # which grows
            self._bound(part)
        for _ in range(_MOST_ROUNDS):
            before = dict(self._found)
            for part in reversed(self._parts):
                self._found[id(part)] = self._bound(part)
            if self._found == before:
                break
        return self._found[id(self._root)]

    def _within(self, part: Any) -> int:
        """The bound of a part as known so far."""
        # References in a part with an address of its own are relative to it.
        if not isinstance(part, dict) or (part is not self._root and _OWN_ADDRESS & part.keys()):
            return self._any
        if id(part) not in self._found:
            self._found[id(part)] = 0
            self._parts.append(part)
        return self._found[id(part)]

    @property
    def _any(self) -> int:
        return self._vocabulary.fewest_of_any(1)

    def _bound(self, part: Mapping[str, Any]) -> int:
        """The largest of the bounds that single keywords give."""
        if "$ref" in part:  # in older drafts what is beside it doesn't count
            return self._within(resolved(part["$ref"], self._root))
        bounds = [self._any, *map(self._within, _list(part, "allOf"))]
        for keyword in ("anyOf", "oneOf"):
            if options := _list(part, keyword):
                bounds.append(min(map(self._within, options)))
        values = [part["const"]] if "const" in part else _list(part, "enum")
        if 0 < len(values) <= _MOST_VALUES:
            bounds.append(min(map(self._of_value, values)))
        kinds = part.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        bounds.append(min((self._of_kind(kind, part) for kind in kinds), default=0))
        return max(bounds)

    def _of_value(self, value: Any) -> int:
        text = json.dumps(value, ensure_ascii=False).replace(json.dumps(_OPEN), _OPEN)
        return self._of(_ESCAPE.sub(_OPEN, text))

    def _of_kind(self, kind: Any, part: Mapping[str, Any]) -> int:
        if kind == "object":
            return self._of("{") + self._of_fields(part) + self._of("}")
        if kind == "array":
            return self._of("[") + self._of_items(part) + self._of("]")
        if kind == "string":
            least = _length(part, "minLength")
            return 2 * self._of('"') + self._vocabulary.fewest_of_any(least)
        if kind == "boolean":
            return min(self._of("true"), self._of("false"))
        if kind in ("integer", "number"):
            return min(map(self._of, "0123456789"))
        return self._of("null") if kind == "null" else self._any

    def _of_fields(self, part: Mapping[str, Any]) -> int:
        names = {name for name in _list(part, "required") if isinstance(name, str)}
        properties = part.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        bounds = [
            self._of(f"{json.dumps(name, ensure_ascii=False)}: ")
            + self._within(properties.get(name))
            for name in names
        ]
        return sum(bounds) + self._of_commas(len(bounds))

    def _of_items(self, part: Mapping[str, Any]) -> int:
        items, count = part.get("items"), _length(part, "minItems")
        if isinstance(items, list):  # the notation of older drafts
            first, items = items, None
        else:
            in_use = self._has_prefixes and "additionalItems" not in part
            first = _list(part, "prefixItems") if in_use else []
        bounds = sum(map(self._within, first[:count]))
        bounds += self._within(items) * max(0, count - len(first))
        return bounds + self._of_commas(count)

    def _of_commas(self, parts: int) -> int:
        return self._of(", ") * max(0, parts - 1)

    def _of(self, text: str) -> int:
        """Of a piece of JSON."""
        pieces = text.encode().split(_OPEN.encode())
        return sum(map(self._of_piece, pieces)) + self._any * (len(pieces) - 1)

    def _of_piece(self, piece: bytes) -> int:
        if piece not in self._pieces:
            self._left -= len(piece) + _BYTES_PER_PIECE
            if not piece or self._left < 0:  # too much work
                return self._vocabulary.fewest_of_any(len(piece))
            self._pieces[piece] = self._vocabulary.fewest(piece)
        return self._pieces[piece]


def _list(part: Mapping[str, Any], keyword: str) -> list[Any]:
    found = part.get(keyword)
    return found if isinstance(found, list) else []


def _length(part: Mapping[str, Any], keyword: str) -> int:
    found = part.get(keyword)
    return found if isinstance(found, int) else 0


def resolved(reference: Any, root: Mapping[str, Any]) -> Any:
    """The part that "#/$defs/name" refers to; None for another notation, and for no part."""
    if not isinstance(reference, str) or not (reference + "/").startswith("#/"):
        return None
    part: Any = root
    for key in reference.split("/")[1:]:
        name = unquote(key).replace("~1", "/").replace("~0", "~")
        part = part.get(name) if isinstance(part, dict) else None
    return part
