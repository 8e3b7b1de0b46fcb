"""Scripts and their questions as JSON: a benchmark stays what it is when drawing changes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dycoke_cli.shapes.questions.question import Question
from dycoke_cli.shapes.world.script import Camera, Event, Scene, Script, Thing

# Numbers are kept to so many decimals: a ten thousandth of a picture's side, or of a clip.
DECIMALS = 4


def to_json(script: Script) -> dict[str, Any]:
    """A script as plain data; what it leaves out is what has its default."""
    data = _rounded(asdict(script))
    for event in data["events"]:
        for name, default in (("way", ""), ("colour", ""), ("glyph", ""), ("other", -1)):
            if event[name] == default:
                del event[name]
    assert isinstance(data, dict)
    return data


def from_json(data: dict[str, Any]) -> Script:
    """The script of `to_json`."""
    return Script(
        things=tuple(Thing(**_pairs(t, "cell", "offset")) for t in data["things"]),
        events=tuple(Event(**_pairs(e, "cell")) for e in data["events"]),
        scenes=tuple(Scene(**s) for s in data["scenes"]),
        camera=Camera(**_pairs(data["camera"], "pan")),
        label=data["label"],
        seconds=data["seconds"],
        names=tuple((name, index) for name, index in data["names"]),
        seed=data["seed"],
    )


def question_to_json(question: Question) -> dict[str, Any]:
    """A question as plain data, without its claims: they are for training."""
    data = {"kind": question.kind, "text": question.text, "answer": question.answer}
    return data | ({"earlier": question.earlier} if question.earlier else {})


def question_from_json(data: dict[str, Any]) -> Question:
    """The question of `question_to_json`."""
    earlier = tuple((asked, answered) for asked, answered in data.get("earlier", ()))
    return Question(data["kind"], data["text"], data["answer"], (), earlier)


def _pairs(data: dict[str, Any], *names: str) -> dict[str, Any]:
    """With the lists of these names as tuples."""
    return {k: tuple(v) if k in names and v is not None else v for k, v in data.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    return value
