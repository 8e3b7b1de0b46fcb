"""Features on all ways to ask: each works as in `dycoke ask`, or is refused as the table says.

The bundled model answers everywhere. Behind a server that isn't ours stands ours, which gets what
OpenAI's protocol and vLLM have, and whose reply loses the rest. Where the model refuses a feature,
it does so everywhere, in the same words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import CLIP, ROOT, Outcome, run_here
from tests.forms import NEEDS_LIBRARY
from tests.models.spoken import tones, use_stand_in, write_film, write_model
from tests.runs.clusters import cluster_of, run_on
from tests.runs.remote.endpoint import serving
from tests.server.local.conftest import Served
from tests.server.local.foreign import stripped

PAGE = (ROOT / "docs" / "dev" / "features.md").read_text(encoding="utf-8")
ASK, CHAT, BATCH, WORKERS, RAY = "ask", "chat", "batch", "workers", "ray"
SOCKET, V1, ELSEWHERE = "socket", "v1", "elsewhere"
WAYS = (ASK, CHAT, BATCH, WORKERS, RAY, SOCKET, V1, ELSEWHERE)  # the columns of the page's table
STAR, IS_STAR = "What does the blue star do?", "Is there a blue star?"
NONE = ("--method", "none")
RUNS = (BATCH, WORKERS, RAY)
# Of those that work: a cluster takes a minute to begin, and all features reach it in one `Ask`.
ON_RAY = ("windows", "when", "compare", "speech")
CONTENT = CLIP.read_bytes()


@dataclass(frozen=True)
class Case:
    """How a feature is asked for."""

    flags: tuple[str, ...]
    question: str = STAR
    videos: tuple[str, ...] = ("move.mp4",)
    of_way: dict[str, tuple[str, ...]] = field(default_factory=dict)  # other flags on some ways


FOUR = ("--frames", "4")
CASES = {
    "windows": Case(("--method", "evs", "--video-tokens", "60", "--frames", "20")),
    "every": Case(("--every", "25s", *NONE, *FOUR), videos=("minute.mp4",)),
    "when": Case(("--when", "--every", "2s", *NONE, *FOUR), IS_STAR,
                 of_way={CHAT: ("--when",)}),
    "choices": Case(("--choices", "yes,no", *NONE, *FOUR), IS_STAR),
    "schema": Case(("--schema", "form.json", *NONE, *FOUR, "--max-tokens", "60")),
    "subtitles": Case(("--subtitles", "move.srt", *NONE, *FOUR)),
    "speech": Case(("--subtitles", "speech", "--speech-model", "ears", *NONE, *FOUR),
                   videos=("talk.mkv",)),
    "parts": Case(("--start", "1", "--end", "2", "--fps", "4", *NONE)),
    "compare": Case(("--compare", "--method", "evs", *FOUR),
                    of_way={CHAT: ("--method", "evs", *FOUR), ELSEWHERE: ("--compare", *FOUR)}),
    "stdin": Case((*NONE, *FOUR), videos=("-",)),
    "pictures": Case(NONE, "What happens?", ("pictures",)),
    "several": Case((*NONE, *FOUR), videos=("move.mp4", "turn.mp4")),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _more(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A film with speech and what hears it, a schema, and a question about several videos."""
    use_stand_in(monkeypatch)
    write_model(place / "ears")
    write_film(place / "talk.mkv", tones(4, (1, 4, 400)))
    schema = {"type": "object", "properties": {"star": {"type": "boolean"}}, "required": ["star"]}
    (place / "form.json").write_text(json.dumps(schema))
    several = {"video": ["move.mp4", "turn.mp4"], "question": STAR}
    (place / "several.jsonl").write_text(f"{json.dumps(several)}\n")


def asked(feature: str, way: str, real: Served) -> Outcome:
    """A command that asks for a feature on a way."""
    case = CASES[feature]
    flags = case.of_way.get(way, case.flags)
    stdin = CONTENT if case.videos == ("-",) else b""
    if way == CHAT:
        question = f"/compare {case.question}" if feature == "compare" else case.question
        return run_here("chat", *case.videos, *flags, "--quiet", stdin=stdin or question.encode())
    words = (*case.videos, case.question)
    if way in RUNS:
        if feature == "several":
            words = ("--questions", "several.jsonl")
        command = ("batch", *words, *flags, "--no-server")
        if way == RAY and (feature, way) not in LIMITS:
            with cluster_of(1) as cluster:
                return run_on(cluster, *command, stdin=stdin)
        own = {WORKERS: ("--workers", "2"), RAY: ("--engine", "ray")}.get(way, ())
        return run_here(*command, *own, stdin=stdin)
    command = ("ask", *words, *flags, "--json")
    if way == ASK:
        return run_here(*command, "--no-server", stdin=stdin)
    if way == SOCKET:
        real.loads.clear()
        outcome = run_here(*command, stdin=stdin)
        assert real.has_answered(), "the server had to answer"
        return outcome
    if way == V1:
        return run_here(*command, "--server", f"http://127.0.0.1:{real.port}/v1", stdin=stdin)
    with serving(stripped(real), knows=False) as endpoint:
        return run_here(*command, "--server", endpoint.url, stdin=stdin)


def said(line: dict[str, Any]) -> dict[str, Any]:
    """What must be the same on all ways."""
    keys = ("answer", "choice", "parsed", "start", "end", "finish_reason", "subtitles", "frames")
    about = {key: line[key] for key in keys if key in line}
    if "compared_to" in line:
        about["compared_to"] = line["compared_to"]["answer"]
    return about


def lines(outcome: Outcome) -> list[dict[str, Any]]:
    found = sorted(outcome.objects, key=lambda line: line.get("start") or 0.0)
    return [*map(said, found)]


def text_tokens(outcome: Outcome) -> set[int | None]:
    """Tokens of the prompts that aren't of the video."""
    return {line["tokens"]["text"] for line in outcome.objects}


def error(outcome: Outcome) -> str:
    """The sentence of the error."""
    return next((one for one in outcome.err.splitlines() if one.startswith("Error")), "")


def limits() -> dict[tuple[str, str], str]:
    """Sentences of the page by feature and way, of what doesn't hold."""
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", PAGE, re.MULTILINE))
    rows = re.findall(r"^\| (?!---)(\S.*) \|$", PAGE, re.MULTILINE)
    found = {}
    for feature, row in zip(CASES, rows, strict=True):
        for way, cell in zip(WAYS, row.split(" | ")[1:], strict=True):
            if number := re.fullmatch(r"\[(\d+)\]\(#reasons\)", cell):
                found[feature, way] = reasons[number[1]][1:]  # without its first letter, a capital
            else:
                assert cell == "✓"
    return found


LIMITS = limits()


def cases() -> list[Any]:
    """Each feature and each way."""

    def marks(feature: str, way: str) -> Sequence[pytest.MarkDecorator]:
        own = [NEEDS_LIBRARY] if feature == "schema" else []
        if way == RAY:
            own.append(pytest.mark.skipif(find_spec("ray") is None, reason="Ray isn't installed"))
        return own

    return [
        pytest.param(feature, way, marks=marks(feature, way), id=f"{feature}-{way}")
        for feature in CASES
        for way in WAYS
        if way != ASK and (way != RAY or feature in ON_RAY or (feature, way) in LIMITS)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("feature", "way"), cases())
def test_a_feature_works_as_in_ask_or_is_refused_as_the_table_says(
    real: Served, feature: str, way: str
) -> None:
    limited = LIMITS.get((feature, way))
    outcome = asked(feature, way, real)
    if limited is not None:
        assert (outcome.code, limited in outcome.err) == (2, True), outcome.err
        assert '"answer":' not in outcome.out
        return
    expected = asked(feature, ASK, real)
    if expected.code:  # the model refuses it: as a command does, or of a line or a question
        assert expected.code == 2
        assert outcome.code in ({1, 2} if way in (CHAT, *RUNS) else {2})
        assert error(expected).removeprefix("Error: ") in outcome.err
        return
    assert outcome.code == 0, outcome.err
    if way == CHAT:
        assert all(one["answer"] in outcome.out for one in expected.objects)
    else:
        assert lines(outcome) == lines(expected)
        # The same prompt, where the server says how long it is.
        assert text_tokens(outcome) in (text_tokens(expected), {None})
