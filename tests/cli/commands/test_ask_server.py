"""`dycoke ask --server`: the same JSON and exit codes, from an OpenAI-compatible server."""

from __future__ import annotations

import base64
import io
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dycoke_cli.runs.remote import remote_client
from tests import documents, warm
from tests.cli.harness import CLIP, REAL, Outcome, run_here
from tests.forms import NEEDS_LIBRARY, form_of
from tests.marks import EXTENDED
from tests.runs.remote.endpoint import Endpoint, Reply, said, serving


def ask(endpoint: Endpoint | str, *arguments: str | Path) -> Outcome:
    url = endpoint if isinstance(endpoint, str) else endpoint.url
    return run_here("ask", CLIP, *arguments, "--frames", "4", "--server", url)


def test_questions_are_asked_in_turn_and_answers_are_shown_as_they_come() -> None:
    with serving() as endpoint:
        run = ask(endpoint, "-q", "Who?", "-q", "Why?", "--follow-up", "--quiet")
    assert (run.code, run.out, run.err) == (0, "Of Who?\nOf Why?\n", "")
    first, second = endpoint.bodies
    assert first["stream"]
    assert not {"dycoke", "mm_processor_kwargs"} & first.keys()  # the server has its own
    assert [turn["role"] for turn in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][0] == first["messages"][0]
    assert second["messages"][1]["content"] == "Of Who?"
    assert not endpoint.probes


def test_json_has_the_keys_of_ask_and_null_for_what_the_server_doesnt_say() -> None:
    with serving() as endpoint:
        line = ask(endpoint, "What?", "--json").object
        assert "--stats shows more" in ask(endpoint, "What?").err
    documents.valid(line, "answer", "answer")
    local = documents.read_schema("answer")["$defs"]["answer"]["properties"]
    assert line["tokens"].keys() == local["tokens"]["properties"].keys()
    assert line["seconds"].keys() == local["seconds"]["properties"].keys()
    assert line["answer"] == "Of What?"
    assert line["tokens"]["visual"] is line["method"] is line["bytes"] is None


def test_a_server_that_knows_no_methods_is_asked_by_none_alone() -> None:
    with serving(knows=False) as endpoint:
        refused = ask(endpoint, "What?", "--method", "evs")
        plain = ask(endpoint, "What?", "--method", "none", "--json")
    assert refused.code == 2
    assert "can't be asked by the method evs: only `dycoke serve` can" in refused.err
    assert plain.object["method"] == {"name": "none"}
    [body] = endpoint.bodies
    assert not {"dycoke", "mm_processor_kwargs"} & body.keys()


def test_frames_are_pictures_for_a_server_without_videos() -> None:
    with serving() as endpoint:
        run = ask(endpoint, "What?", "--as-images", "--json")
        refused = ask(endpoint, "What?", "--as-images", "--method", "evs")
    *pictures, text = endpoint.bodies[0]["messages"][0]["content"]
    assert text["text"] == "What?"
    assert [part["type"] for part in pictures] == ["image_url"] * 4
    data = pictures[0]["image_url"]["url"].removeprefix("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(data))).format == "JPEG"
    assert "media_io_kwargs" not in endpoint.bodies[0]
    assert run.object["frames"]["count"] == 4
    assert refused.code == 2
    assert "--as-images is for servers without our methods" in refused.err


def _dripping() -> Iterator[bytes]:
    yield b'{"choices": ['
    while True:
        time.sleep(0.05)
        yield b" "


@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        (lambda: iter([b"<html>"]), 4, "isn't a chat completion: check the address"),
        (lambda: iter([b'{"choices": [{"mess']), 4, "isn't a chat completion: check the address"),
        (lambda: iter([b'{"choices": [{"message": {"content": 7}}]}']), 4, "isn't a chat"),
        (_dripping, 1, "isn't read, because it doesn't end within 2 s"),
    ],
)
def test_a_body_that_is_no_answer_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    body: Callable[[], Iterator[bytes]],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.setattr(remote_client, "TIMEOUT_S", 2.0)
    with serving(raw=body) as endpoint:
        run = ask(endpoint, "What?")
    assert run.code == code
    assert sentence in run.err
    assert run.err.count("\n") == 1


def test_a_server_that_isnt_there_is_one_sentence_soon() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        run = ask(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "What?")
    assert run.code == 4
    assert "can't be reached" in run.err


def test_several_models_have_to_be_named() -> None:
    with serving(models=("one", "two")) as endpoint:
        run = ask(endpoint, "What?")
        assert ask(endpoint, "What?", "--model", "two").code == 0
    assert run.code == 4
    assert "lists 2 models (one, two): name one with --model" in run.err
    assert [body["model"] for body in endpoint.bodies] == ["two"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--server", "http://here/v1", "--no-server"), "--server and --no-server exclude"),
        (("--server", "http://here/v1", "--quantize", "int8"), "--quantize and --server exclude"),
        (("--as-images",), "--as-images needs --server: add it"),
        ((CLIP, "--server", "http://here/v1"), "--server takes one video"),
    ],
)
def test_what_is_refused(arguments: tuple[str | Path, ...], sentence: str) -> None:
    assert sentence in run_here("ask", CLIP, *arguments, "-q", "What?").refusal


def typed_reply(body: dict[str, Any], **told: Any) -> Reply:
    """Of `dycoke serve`: the last option has a probability of .5, the others share the rest."""
    options = body["structured_outputs"]["choice"]
    shares = {text: 0.5 / (len(options) - 1) for text in options} | {options[-1]: 0.5}
    status, answer = said(body, options[-1])
    scoring = {
        "texts": options, "log_probabilities": [-1.0] * len(options), "tokens": [1] * len(options),
        "per_token": False, "ended": False, "mass": 0.9, "likeliest": "It",
    }  # fmt: skip
    answer["usage"]["dycoke"] = {"probabilities": shares, "scoring": scoring} | told
    return status, answer


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (["--choices", "left,right,up"], ["left", "right", "up"]),
        (["--yes-no"], ["yes", "no"]),
        (["--score", "1-3"], ["1", "2", "3"]),
    ],
)
def test_options_are_scored_there(flags: list[str], options: list[str]) -> None:
    with serving(typed_reply) as endpoint:
        line = ask(endpoint, "What?", *flags, "--json").object
        shown = ask(endpoint, "What?", *flags, "--quiet")
    documents.valid(line, "answer", "answer")
    body = endpoint.bodies[0]
    assert body["structured_outputs"] == {"choice": options}
    assert "dycoke" not in body
    rest = 0.5 / (len(options) - 1)
    assert line["choice"] == line["answer"] == options[-1]
    assert line["probabilities"] == {**dict.fromkeys(options, rest), options[-1]: 0.5}
    assert line["margin"] == 0.5 - rest
    assert line["scoring"]["mass"] == 0.9
    assert line.get("mean") == (0.25 * 3 + 1.5 if "--score" in flags else None)
    assert shown.out == f"{line['choice']} (50.0 %)\n"


def test_options_go_with_a_method_and_in_a_batch(tmp_path: Path) -> None:
    with serving(typed_reply) as endpoint:
        flags = ("--yes-no", "--method", "evs", "--server", endpoint.url)
        run = run_here("batch", CLIP, "What?", *flags, "--frames", "4")
    assert run.object["choice"] == "no"
    [body] = endpoint.bodies
    assert body["dycoke"] == {"method": "evs"}


@pytest.mark.parametrize(
    "told",
    [
        {"probabilities": None},
        {"probabilities": {"yes": 0.5}},
        {"probabilities": {"yes": 0.5, "no": 0.4, "maybe": 0.1}},
        {"probabilities": {"yes": 0.5, "no": "0.5"}},
        {"probabilities": {"yes": 1.5, "no": -0.5}},
        {"probabilities": [0.5, 0.5]},
        {"scoring": None},
        {"scoring": {"mass": 1}},
    ],
    ids=str,
)
def test_a_server_that_gives_no_probabilities(told: dict[str, Any]) -> None:
    with serving(lambda body: typed_reply(body, **told)) as endpoint:
        run = ask(endpoint, "What?", "--yes-no", "--quiet")
    assert (run.code, run.out) == (2, "")
    [line] = run.err.splitlines()
    assert "gives no probabilities of the options: only `dycoke serve` does" in line


@NEEDS_LIBRARY
def test_a_form_is_asked_of_the_server() -> None:
    form = form_of(colour="string", count="integer")

    def reply(body: dict[str, Any]) -> Reply:
        return said(body, '{"colour": "red", "count": 2}')

    with serving(reply) as endpoint:
        line = ask(endpoint, "What?", "--schema", form.definition, "--json").object
    documents.valid(line, "answer", "answer")
    assert line["parsed"] == {"colour": "red", "count": 2}
    [body] = endpoint.bodies
    named = {"name": "answer", "schema": json.loads(form.definition)}
    assert body["response_format"] == {"type": "json_schema", "json_schema": named}


@NEEDS_LIBRARY
@pytest.mark.parametrize(
    ("text", "reason", "sentence"),
    [
        ("A red star.", "stop", "the server's answer isn't JSON: it doesn't support"),
        ('{"a": "', "length", "isn't complete after 128 tokens; raise --max-tokens"),
    ],
)
def test_what_is_not_of_the_form_is_an_error(text: str, reason: str, sentence: str) -> None:
    def reply(body: dict[str, Any]) -> Reply:
        status, answer = said(body, text)
        answer["choices"][0]["finish_reason"] = reason
        return status, answer

    with serving(reply) as endpoint:
        run = ask(endpoint, "What?", "--schema", form_of(a="string").definition, "--json")
    assert run.code == 2
    assert sentence in run.object["error"]["message"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("flags", [(), pytest.param(("--json",), marks=EXTENDED)])
def test_an_answer_that_cannot_be_written_is_an_error(flags: tuple[str, ...]) -> None:
    """A thread of requests shows the answer: what went wrong there was lost, with exit code 0."""
    with serving() as endpoint, Path("/dev/full").open("w") as full:
        command = [*REAL, "ask", str(CLIP), "What?", "--frames", "4", "--server", endpoint.url]
        done = warm.run([*command, *flags], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 6
    assert b"standard output can't be written" in done.stderr
