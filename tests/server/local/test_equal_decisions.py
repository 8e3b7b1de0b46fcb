"""Probabilities of typed questions to the bundled model: the same on every way to ask."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import openai
import pytest

from dycoke_cli.server.video_tools import VideoTools
from tests.cli.harness import CLIP, run_here
from tests.server.local.conftest import Served
from tests.server.local.foreign import post
from tests.server.pretended import DEFAULTS

SHOWN = {
    "type": "video_url",
    "video_url": {"url": f"data:video/mp4;base64,{b64encode(CLIP.read_bytes()).decode()}"},
}
MOVES, MANY, STAR = "What does the blue star do?", "How many shapes are there?", "Is there a star?"
ASKED: dict[str, tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]] = {
    # flags of `ask`, and the question in both forms
    STAR: (("--yes-no",), {"type": "predicate"}, {"type": "noul"}),
    MOVES: (
        ("--choices", "moves left,moves right"),
        {"type": "choice", "choices": [{"value": "moves left"}, {"value": "moves right"}]},
        {"type": "choice", "criteria": {"moves left": None, "moves right": None}},
    ),
    MANY: (
        ("--score", "1-5"),
        {"type": "score", "levels": [{"label": str(n)} for n in range(1, 6)]},
        {"type": "score", "criteria": [str(n) for n in range(1, 6)]},
    ),
}
TEXTS = {STAR: ("yes", "no"), MOVES: ("moves left", "moves right"), MANY: ("1", "2", "3", "4", "5")}


def by_ask(question: str, *flags: str) -> list[float]:
    """Of the command; it reads as many frames as the server does."""
    done = run_here("ask", CLIP, question, *ASKED[question][0], "--json", "--frames", "8",
                    "--method", "none", *flags)  # fmt: skip
    assert done.code == 0, done.err
    return [*done.objects[0]["probabilities"].values()]


def by_decisions(real: Served, *questions: str) -> tuple[list[list[float]], Any]:
    """Of OpenAI's client, by question; and the usage."""
    asked: Any = [{"instructions": one, **ASKED[one][1]} for one in questions]
    shown: Any = [{"role": "user", "content": [SHOWN]}]
    url = f"http://127.0.0.1:{real.port}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        reply = client.decisions.create(model="mini", input=shown, questions=asked)
    assert [one.type for one in reply.answers] == [one["type"] for one in asked]
    return [of_decision(one) for one in reply.answers], reply.usage


def of_decision(answer: Any) -> list[float]:
    if answer.type == "predicate":
        return [answer.probability]
    return [one.probability for one in answer.probabilities]


def by_systemone(real: Served, question: str) -> list[float]:
    body = {"state": [SHOWN], "questions": {"a": {"instructions": question, **ASKED[question][2]}}}
    status, reply = post(real, body, "systemone")
    assert status == 200, reply
    answer = reply["answers"]["a"]
    return [answer["noul"]] if "noul" in answer else [*answer["probabilities"].values()]


def by_chat(real: Served, question: str) -> list[float]:
    content = [SHOWN, {"type": "text", "text": question}]
    body = {"messages": [{"role": "user", "content": content}],
            "structured_outputs": {"choice": TEXTS[question]}}  # fmt: skip
    return [*post(real, body)[1]["usage"]["dycoke"]["probabilities"].values()]


def by_tool(real: Served, question: str) -> list[float]:
    """Of the tool of `dycoke mcp`."""
    tools = VideoTools([CLIP.parent], DEFAULTS, real.service.engine, 8)
    given = (CLIP.name, question, (None, None), lambda *_: None, threading.Event())
    answer = tools.ask(*given, choices=TEXTS[question])
    return [*answer.probabilities.values()]


@pytest.mark.slow
@pytest.mark.parametrize("question", [*ASKED])
def test_every_way_has_the_same_probabilities(real: Served, question: str) -> None:
    """Each about a video that nothing was asked about.

    To the last digit where a server answers. It prefills the video apart from the question, for the
    next one; a command alone prefills both in one piece, whose products round otherwise.
    """

    def fresh(ways: Callable[[Served, str], list[float]]) -> list[float]:
        real.wait_until_idle()
        real.service.engine.free()
        return ways(real, question)

    expected = fresh(by_chat)
    assert expected == pytest.approx(by_ask(question, "--no-server"), abs=1e-6)
    assert fresh(by_tool) == expected
    assert fresh(lambda *_: by_ask(question)) == expected  # over the socket
    own = expected[:1] if question == STAR else expected
    assert fresh(lambda *_: by_decisions(real, question)[0][0]) == own
    assert fresh(by_systemone) == own


@pytest.mark.slow
def test_several_decisions_share_one_prefill(real: Served) -> None:
    """Their probabilities are those of each alone, up to the rounding of a prompt in two pieces."""
    questions = [STAR, MOVES, MANY, STAR]
    found, usage = by_decisions(real, *questions)
    for shares, question in zip(found, questions, strict=True):
        alone = by_ask(question, "--no-server")
        assert shares == pytest.approx(alone[: len(shares)], abs=1e-6)
    first, *others = usage.dycoke
    assert first["tokens"].get("reused", 0) == 0
    visual = first["tokens"]["visual_kept"]
    assert usage.input_tokens_details.cached_tokens >= len(others) * visual
    assert all(one["seconds"]["vision"] == 0 for one in others)
    assert real.service.metrics.text().count("videos_reused_total 3") == 1


@pytest.mark.slow
def test_what_is_too_much_is_refused_at_once(real: Served) -> None:
    """10,000 options or a megabyte of text cost less than half a second of a processor."""
    object.__setattr__(real.service, "context", 2048)
    text = "word " * 209_000
    options = [f"o{n}" for n in range(10_000)]
    named = {"type": "choice", "instructions": "Which?"}
    listed = [named | {"choices": [{"value": one} for one in options]}]
    bodies: list[tuple[str, Any]] = [
        ("decisions", {"input": "x", "questions": listed}),
        ("systemone", {"state": "x", "questions": {
            "a": {"type": "score", "instructions": "?", "criteria": options[:9000]}}}),
        ("decisions", {"input": text, "questions": [{"type": "predicate", "instructions": "?"}]}),
        ("systemone", {"state": "x", "questions": {"a": {"type": "noul", "instructions": text}}}),
        ("decisions", {"input": "x", "questions": [
            named | {"choices": [{"value": text}, {"value": "b"}]}]}),
    ]  # fmt: skip
    for path, body in bodies:
        object.__setattr__(real.service.bodies, "most_bytes", 2**21)
        began = time.process_time()
        status, reply = post(real, body, path)
        assert time.process_time() - began < 0.5
        assert status in {400, 413, 422}, reply
        assert len(json.dumps(reply)) < 3000
