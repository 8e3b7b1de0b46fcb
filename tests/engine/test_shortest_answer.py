"""The bound of an answer's length against answers that are counted one by one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import pytest

from dycoke_cli.engine.shortest_answer import Vocabulary, fewest_tokens

TEXT, WHOLE = {"type": "string"}, {"type": "integer"}


def bound(schema: dict[str, Any], vocabulary: Vocabulary | None = None) -> int:
    return fewest_tokens(json.dumps(schema), vocabulary)


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


SHORTEST = [
    (an_object(colour=TEXT, n=WHOLE, ok={"type": "boolean"}), '{"colour": "", "n": 0, "ok": true}'),
    ({"type": "object", "properties": {"a": TEXT}, "required": []}, "{}"),
    (an_object(a={"enum": ["blue", "red"]}, b={"const": None}), '{"a": "red", "b": null}'),
    (an_object(a={"type": "array", "items": WHOLE, "minItems": 3}), '{"a": [0, 0, 0]}'),
    (an_object(a={"type": "array", "items": WHOLE}), '{"a": []}'),
    (an_object(a={"type": "string", "minLength": 3}), '{"a": "aaa"}'),
    (an_object(a={"anyOf": [TEXT, WHOLE]}, b={"type": ["string", "null"]}), '{"a": 0, "b": ""}'),
    (an_object(a={"$ref": "#/$defs/b"}) | {"$defs": {"b": an_object(c=WHOLE)}}, '{"a": {"c": 0}}'),
    # Of each part of allOf, and beside it.
    ({"allOf": [an_object(a=TEXT), an_object(bb=TEXT)], "type": "object"}, '{"bb": ""}'),
    ({"const": {"né": ["赤", 7, True, {}]}}, '{"né": ["赤", 7, true, {}]}'),
    # A number may have another notation, and so may some characters of a value, but not of a name.
    ({"const": [1.5, 1e20, -0.0, "a\nb\x7f"]}, '[0, 0, 0, "a.b."]'),
    ({**an_object(**{"a\n": {}}), "additionalProperties": False}, '{"a\\n": 0}'),
    # A part that contains itself: the way out counts.
    ({"$ref": "#/$defs/t", "$defs": {"t": {"anyOf": [an_object(l={"$ref": "#/$defs/t"}), TEXT]}}},
     '""'),
    # Lists of items, as older drafts have them and as they haven't.
    ({"type": "array", "prefixItems": [{"const": "long"}], "items": WHOLE, "minItems": 2},
     '["long", 0]'),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "minItems": 2,
      "prefixItems": [{"const": "long"}], "items": WHOLE}, "[0, 0]"),
    ({"type": "array", "items": [{"const": "long"}], "minItems": 2}, '["long", 0]'),
    # What isn't known: another draft, another notation of a reference, an address of its own.
    ({"$schema": "http://json-schema.org/draft-04/schema#", "const": "long"}, ""),
    (an_object(a={"$ref": "#b"}) | {"$defs": {"b": {"$anchor": "b", "const": 1}}}, '{"a": 0}'),
    (an_object(a={"$id": "http://e.org/", "$ref": "#/$defs/q", "$defs": {"q": WHOLE}})
     | {"$defs": {"q": {"const": "long"}}}, '{"a": 0}'),
    ({"enum": ["value"] * 300}, "0"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "text"), SHORTEST, ids=[text for _, text in SHORTEST])
def test_the_shortest_answer_of_a_schema_in_bytes(schema: dict[str, Any], text: str) -> None:
    assert bound(schema) == len(text.encode())


def tree(children: int) -> dict[str, Any]:
    names = {f"c{number}": {"$ref": "#/$defs/t"} for number in range(children)}
    return {"$ref": "#/$defs/t", "$defs": {"t": {"anyOf": [WHOLE, an_object(**names)]}}}


LARGE = {
    "a tree": (tree(3), 1),
    "twice itself": ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}] * 2}}},
                     1),
    "a chain": ({"$ref": "#/$defs/0", "$defs": {
        **{str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(6000)},
        "6000": {"const": "end"}}}, 5),
    "a long text": ({"type": "string", "minLength": 2_000_000_000}, 2_000_000_002),
    "lists in lists": ({"type": "array", "minItems": 1000, "items": {
        "type": "array", "minItems": 1000, "items": {"type": "array", "minItems": 1000,
                                                     "items": WHOLE}}},
                       1000 * (1000 * (1000 * 3 + 2) + 2)),
    "a large value": ({"const": "a" * 900_000}, 900_002),
    "the same name again": ({"type": "object", "required": ["a"] * 5000}, len('{"a": 0}')),
}  # fmt: skip


@pytest.mark.parametrize(("schema", "least"), LARGE.values(), ids=LARGE)
def test_a_hostile_schema_takes_no_time(schema: dict[str, Any], least: int) -> None:
    """Each way through these would take hours, or gigabytes: `tests/limits.py` counts."""
    assert bound(schema) == least


def test_an_answer_without_an_end_is_as_long_as_has_been_counted() -> None:
    assert bound(an_object(a={"$ref": "#"})) > len('{"a": {"a": {"a": ')


class Finite:
    """Random schemas whose answers can be listed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def make(self, depth: int = 0) -> tuple[dict[str, Any], list[str]]:
        """A schema and all its answers, as the grammar writes them."""
        kinds = [self.enum, self.flag]
        kinds += [self.object, self.list, self.either] if depth < 2 else []
        return self.random.choice(kinds)(depth + 1)

    def enum(self, depth: int) -> tuple[dict[str, Any], list[str]]:
        words = ["né", "赤い車", "red", "red one", "", 7, 12, None, ["a", {"b": 1}], "🙂"]
        values = self.random.sample(words, self.random.randint(1, 3))
        return {"enum": values}, [json.dumps(value, ensure_ascii=False) for value in values]

    def flag(self, depth: int) -> tuple[dict[str, Any], list[str]]:
        return {"type": ["boolean", "null"]}, ["true", "false", "null"]

    def either(self, depth: int) -> tuple[dict[str, Any], list[str]]:
        (one, of_one), (other, of_other) = self.make(depth), self.make(depth)
        return {"anyOf": [one, other]}, of_one + of_other

    def list(self, depth: int) -> tuple[dict[str, Any], list[str]]:
        least, more = self.random.randrange(3), self.random.randrange(2)
        items, answers = self.make(depth)
        counts = range(least, least + more + 1)
        found = [f"[{', '.join(one)}]" for n in counts for one in product(answers, repeat=n)]
        schema = {"type": "array", "items": items, "minItems": least, "maxItems": least + more}
        return schema, found[:3000]

    def object(self, depth: int) -> tuple[dict[str, Any], list[str]]:
        names = self.random.sample(["a", "couleur", "ü b", 'q"'], self.random.randint(1, 2))
        required = self.random.sample(names, self.random.randint(0, len(names)))
        parts = {name: self.make(depth) for name in names}
        fields = [
            [f"{json.dumps(name, ensure_ascii=False)}: {one}" for one in parts[name][1][:20]]
            + ([] if name in required else [""])
            for name in names
        ]
        found = [f"{{{', '.join(filter(None, one))}}}" for one in product(*fields)]
        properties = {name: part for name, (part, _) in parts.items()}
        schema = {"type": "object", "properties": properties, "required": required}
        return schema | {"additionalProperties": False}, found


def fewest(text: bytes, tokens: set[bytes]) -> int:
    """Of all ways to divide a text into tokens, one that has the fewest."""
    least = [0]
    for end in range(1, len(text) + 1):
        cut = (least[begin] + 1 for begin in range(end) if text[begin:end] in tokens)
        least.append(min(cut, default=10**6))
    return least[-1]


def pieces(texts: Iterable[bytes], draw: random.Random) -> Iterator[bytes]:
    """Tokens that cross whatever a bound is made of."""
    for text in texts:
        for _ in range(6):
            begin = draw.randrange(len(text))
            yield text[begin : begin + draw.randint(1, 14)]


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_no_answer_is_shorter_than_the_bound(first: int) -> None:
    met = 0
    for seed in range(first, first + 50):
        finite = Finite(seed)
        schema, answers = finite.make()
        draw = finite.random
        texts = [answer.encode() for answer in draw.sample(answers, min(len(answers), 12))]
        singles = {bytes([byte]) for byte in range(256)}
        assert bound(schema) <= min(map(len, texts))
        tokens = singles | {*pieces(texts, draw)}
        least = min(fewest(text, tokens) for text in texts)
        found = bound(schema, Vocabulary(tokens))
        assert found <= least, (schema, tokens)
        met += found == least
    assert met > 5  # it isn't 0 all the time
