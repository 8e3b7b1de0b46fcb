"""The server over its socket, its model pretended: replies, and its limits."""

from __future__ import annotations

import errno
import gzip
import json
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from unittest.mock import Mock

import openai
import pytest

from dycoke_cli.answer.answer import Answer, ReportedSubtitles
from dycoke_cli.engine.generation_options import WHAT_FITS
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.unloaded_model import UnloadedModel
from dycoke_cli.models.prompts.chat import variables_of
from dycoke_cli.server import routes
from dycoke_cli.server.exchange import for_model
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.replies import usage
from tests.documents import example
from tests.server.pretended import CHAT, VIDEO, Running, body_of, make_service, running
from tests.server.requests import about, read, read_responses


def events(body: bytes) -> list[Any]:
    lines = [line[6:] for line in body.decode().split("\n\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_an_answer(server: Running) -> None:
    status, reply = server.ask("What happens?", dycoke={"method": "evs:retain=0.5"})
    assert status == 200
    assert reply["object"] == "chat.completion"
    assert reply["choices"][0]["message"]["content"] == "What happens? "
    assert reply["choices"][0]["finish_reason"] == "stop"
    usage = reply["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (8 * 8 + 1, 3)
    assert usage["dycoke"]["visual_dropped"] == 8 * 8
    assert usage["dycoke"]["method"]["name"] == "evs"
    assert server.ask("Hello?", url=None)[1]["choices"][0]["message"]["content"] == "Hello? "


def test_the_usage_names_the_subtitles() -> None:
    heard = ReportedSubtitles("the speech in a.mp4 (whisper-small, language en)", 2)
    found = usage(example(Answer, subtitles=heard))["dycoke"]["subtitles"]
    assert found == {"source": heard.source, "lines": 2}
    assert "subtitles" not in usage(example(Answer))["dycoke"]


def test_a_stream(server: Running) -> None:
    body = body_of("one two three", stream=True, stream_options={"include_usage": True})
    status, headers, reply = server.request("POST", CHAT, body)
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    first, *middle, last, figures = events(reply)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [one["choices"][0]["delta"]["content"] for one in middle] == ["one ", "two ", "three "]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert (figures["choices"], figures["usage"]["completion_tokens"]) == ([], 4)
    assert len({one["id"] for one in (first, *middle, last, figures)}) == 1
    whole = events(server.request("POST", CHAT, body_of("Hello?", url=None, stream=True))[2])
    assert [one["choices"][0]["delta"] for one in whole][1] == {"content": "Hello? "}
    assert "usage" not in str(events(server.request("POST", CHAT, body_of("one", stream=True))[2]))


def test_the_openai_client(server: Running) -> None:
    """Its defaults are accepted, and what it can't have is an error with the key's name."""
    message: Any = {"role": "user", "content": [
        {"type": "video_url", "video_url": {"url": VIDEO}}, {"type": "text", "text": "What?"}
    ]}  # fmt: skip
    with server.client() as client:

        def ask(extra: dict[str, Any], **keys: Any) -> Any:
            create = client.chat.completions.create
            return create(model="mini", messages=[message], extra_body=extra, **keys)

        plain = ask({}, n=1, stop=None, top_p=1, tool_choice="none", user="x", store=False)
        assert plain.choices[0].message.content == "What? "
        assert plain.usage.dycoke["method"]["name"] == "none"
        for spelling in ({"dycoke": {"method": "evs"}}, {"mm_processor_kwargs": {"dycoke": "evs"}}):
            assert ask(spelling).usage.dycoke["method"]["name"] == "evs"
        for extra, keys, name in (
            ({"best_of": 5}, {}, "best_of"),
            ({}, {"modalities": ["audio"], "stream": True}, "modalities"),
        ):
            with pytest.raises(openai.BadRequestError, match=name) as caught:
                ask(extra, **keys)
            assert caught.value.param == name
        [warning] = ask({"mm_processor_kwargs": {"size": 1}}).usage.dycoke["warnings"]
        assert warning == "these keys of the request have no effect: mm_processor_kwargs.size"


def test_models_health_and_what_is_not_there(server: Running) -> None:
    listed = json.loads(server.request("GET", "/v1/models")[2])
    assert [one["id"] for one in listed["data"]] == ["mini"]
    assert server.request("GET", "/health")[0] == server.request("GET", "/metrics")[0] == 200
    # Probes aren't counted.
    assert server.metric('requests_total{status="200"}') == 1
    for method, path, status, code in (
        ("GET", "/", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/openapi.json", 404, "not_found"),
        ("GET", "/v1/../../etc/passwd", 404, "not_found"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("OPTIONS", CHAT, 405, "method_not_allowed"),
    ):
        got, headers, body = server.request(method, path)
        error = json.loads(body)["error"]
        assert (got, error["code"]) == (status, code), path
        if status == 405:
            assert headers["allow"] == "POST"
            assert error["message"] == f"{path} takes POST, not {method}"
        assert headers["x-content-type-options"] == "nosniff"


def test_addresses_that_clients_try_first(server: Running) -> None:
    """Probes with HEAD, a slash behind the list of models, and a base URL without /v1."""
    for path in ("/health", "/v1/models", "/v1/models/", "/v1/models/mini"):
        length = len(server.request("GET", path)[2])
        status, headers, body = server.request("HEAD", path)
        assert (status, body, int(headers["content-length"])) == (200, b"", length), path
    listed = json.loads(server.request("GET", "/v1/models/")[2])
    assert listed == json.loads(server.request("GET", "/v1/models")[2])
    assert listed["data"][0].keys() == {"id", "object", "created", "owned_by", "max_model_len"}
    assert json.loads(server.request("GET", "/v1/models/Mini:latest")[2]) == listed["data"][0]
    base = f"the base URL of this server is http://127.0.0.1:{server.port}/v1"
    for path in ("/chat/completions", "/v1/v1/chat/completions", "/api/chat"):
        status, _, body = server.request("POST", path, body_of("What?"))
        assert (status, base in json.loads(body)["error"]["message"]) == (404, True), path


def test_a_compressed_body(server: Running) -> None:
    headers = {"Content-Encoding": "gzip"}
    status, _, body = server.request("POST", CHAT, gzip.compress(body_of("What?")), **headers)
    assert status == 415
    assert "must not be compressed" in json.loads(body)["error"]["message"]
    headers = {"Content-Encoding": "identity"}
    assert server.request("POST", CHAT, body_of("What?"), **headers)[0] == 200


def test_keys_without_effect_are_a_warning(server: Running) -> None:
    """Also those that the chat template of this model doesn't have."""
    more = {"keep_alive": "5m", "chat_template_kwargs": {"enable_thinking": False}}
    _, reply = server.ask("What?", **more)
    [warning] = reply["usage"]["dycoke"]["warnings"]
    assert warning.endswith("no effect: keep_alive, chat_template_kwargs.enable_thinking")
    body = json.dumps({"input": "What?", "text": {"verbosity": "low"}}).encode()
    reply = json.loads(server.request("POST", "/v1/responses", body)[2])
    assert "text.verbosity" in reply["usage"]["dycoke"]["warnings"][0]


THINKS = "chat_template_kwargs.enable_thinking"


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"chat_template_kwargs": {"enable_thinking": True}}, {"enable_thinking": True}),
        ({"chat_template_kwargs": {"enable_thinking": False}, "think": False},
         {"enable_thinking": False}),
        *((says, {"enable_thinking": False}) for says in (
            {"reasoning_effort": "none"}, {"enable_thinking": False},
            {"thinking": {"type": "disabled"}}, {"reasoning": {"enabled": False}})),
        *((says, {"enable_thinking": True}) for says in (
            {"enable_thinking": True}, {"think": True},
            {"reasoning": {"enabled": True}, "thinking": {}})),
        ({"chat_template_kwargs": {"other": 1}}, {}),
        ({"chat_template_kwargs": {"enable_thinking": "no"}}, THINKS),
        ({"chat_template_kwargs": {"enable_thinking": True}, "think": False}, "think"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
    ],
    ids=str,
)  # fmt: skip
def test_variables_of_a_template_that_has_them(more: dict[str, Any], found: Any) -> None:
    """Only thinking may be set; what a template has is never ignored."""
    service = make_service(
        Mock(), Mock(), template_names=frozenset({"messages", "enable_thinking"})
    )
    request = read([{"role": "user", "content": "What?"}], **more)
    if "chat_template_kwargs" not in more:  # the same rule in both protocols
        assert read_responses("What?", **more).template == request.template
    if isinstance(found, str):
        with pytest.raises(Refused) as caught:
            for_model(service, request)
        assert (caught.value.status, caught.value.parameter) == (400, found)
    else:
        assert variables_of(for_model(service, request).question) == found


def test_errors_say_nothing_of_the_inside(server: Running) -> None:
    assert server.ask("bug") == (
        500,
        {"error": {"message": "something went wrong; the server's log has it",
                   "type": "server_error", "param": None, "code": "failed"}},
    )  # fmt: skip
    body = server.request("POST", CHAT, body_of("bug", stream=True))[2].decode()
    assert "something went wrong" in body
    assert "bold" not in body
    assert server.ask("What?")[0] == 200


def test_no_memory_for_one(server: Running) -> None:
    status, reply = server.ask("stumbles")
    assert (status, reply["error"]["code"]) == (503, "out_of_memory")
    assert server.ask("What?")[0] == 200


def test_turns_about_one_video_reuse_it(server: Running) -> None:
    for question in ("What?", "Why?"):
        assert server.ask(question)[0] == 200
    assert len(server.pretended.read) == 1
    assert server.metric("videos_reused_total") == 1
    assert server.ask("What?", media_io_kwargs={"video": {"num_frames": 4}})[0] == 200
    assert server.pretended.read == [8, 4]


def status_of(server: Running, key: str, question: str, url: str | None = None) -> int:
    """The status of the answer to a question of the client with this key."""
    head = {"Authorization": f"Bearer {key}"}
    return server.request("POST", CHAT, body_of(question, url), **head)[0]


def test_what_a_key_made_no_other_key_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached video: another key has to wait for its own."""
    with running(monkeypatch, key="anna\nben") as server:
        for key, count in (("anna", 1), ("anna", 1), ("ben", 2)):
            assert status_of(server, key, "What?", VIDEO) == 200
            assert len(server.pretended.read) == count


def test_no_room_for_a_video(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client isn't told where the server's folders are."""
    full = OSError(errno.ENOSPC, "No space left on device", "/tmp/secret")
    monkeypatch.setattr("dycoke_cli.server.media.temporary_folder", Mock(side_effect=full))
    status, reply = server.ask("What?")
    assert (status, reply["error"]["code"]) == (503, "no_room")
    monkeypatch.setattr("tempfile.TemporaryFile", Mock(side_effect=full))
    status, reply = server.ask("What?", "data:video/mp4;base64," + "A" * 10_000)
    assert (status, reply["error"]["code"]) == (503, "no_room")
    assert "secret" not in str(reply)


def test_a_text_beyond_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before the engine has it, and before its video is read."""
    with running(monkeypatch, context=200) as server:
        assert server.ask("x" * 1600, max_tokens=100)[0] == 200
        server.pretended.read.clear()
        for reply in (
            server.ask("x" * 1601, max_tokens=100),
            server.ask("é" * 801, max_tokens=100),
        ):
            assert (reply[0], reply[1]["error"]["code"]) == (400, "context_length_exceeded")
        assert server.pretended.read == []
        assert len(server.pretended.batches) == 1


@pytest.mark.parametrize(
    ("most", "found"), [(-1, WHAT_FITS), (200, WHAT_FITS), (10**9, WHAT_FITS), (199, 199)]
)
def test_an_answer_as_long_as_there_is_room(most: int, found: int) -> None:
    service = make_service(Mock(), Mock(), context=200)
    for request in (about(max_tokens=most), read_responses("?", max_output_tokens=most)):
        assert for_model(service, request).request.generation.max_tokens == found


def test_frames_beyond_the_context(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan of a video is checked before its frames are read, with each method."""
    checked: list[Any] = []

    def fits(_: Any, plan: Any, method: Any, new: int) -> None:
        checked.append((len(plan.times_s), method.name, new))
        raise UsageError("8 frames make a prompt longer than the model's context")

    monkeypatch.setattr(UnloadedModel, "check_plan", fits)
    # This method needs the whole video at once; others select from windows of it.
    status, reply = server.ask("What?", dycoke={"method": "maxmin"}, max_tokens=9)
    assert (status, reply["error"]["message"][:8]) == (400, "8 frames")
    assert checked == [(8, "maxmin", 9)]
    assert server.pretended.read == []


def test_more_than_are_taken_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(monkeypatch, queue=2) as server, ThreadPoolExecutor(2) as pool:
        server.pretended.gate.clear()
        waiting = [pool.submit(server.ask, f"question {n}") for n in range(2)]
        server.wait_for("requests_active", 2)
        status, headers, body = server.request("POST", CHAT, body_of("one more"))
        assert (status, json.loads(body)["error"]["code"]) == (429, "too_many_requests")
        assert int(headers["retry-after"]) >= 1
        server.pretended.gate.set()
        assert [one.result()[0] for one in waiting] == [200, 200]
        assert server.ask("one more")[0] == 200


def test_slow_videos_of_one_client_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, quick = (f"data:video/mp4;base64,{b64encode(bytes([n])).decode()}" for n in (0, 1))
    with running(monkeypatch, key="anna\nben") as server, ThreadPoolExecutor(5) as pool:
        server.pretended.shutter.clear()
        server.pretended.shut_for = b"\0"
        waiting = [pool.submit(status_of, server, "anna", "What?", slow) for _ in range(5)]
        assert server.pretended.began.wait(20)
        # Without a video, and another client's.
        for key, url in (("anna", None), ("ben", quick), ("ben", None)):
            assert status_of(server, key, "What?", url) == 200
        server.pretended.shutter.set()
        assert [one.result() for one in waiting] == [200] * 5


def test_slow_forms_of_one_client_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema may take half a second to compile, and a client may send many."""
    compiled, began, read = Event(), Event(), routes.read

    def slow(body: bytes, *more: Any) -> Any:
        if b"slow" in body:
            began.set()
            assert compiled.wait(20)
        return read(body, *more)

    monkeypatch.setattr(routes, "read", slow)
    with running(monkeypatch, key="anna\nben") as server, ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(status_of, server, "anna", "slow") for _ in range(5)]
        assert began.wait(20)
        assert status_of(server, "ben", "quick") == 200
        assert not any(one.done() for one in waiting)
        compiled.set()
        assert [one.result() for one in waiting] == [200] * 5


def test_many_at_once_are_answered_together(server: Running) -> None:
    server.pretended.gate.clear()
    with ThreadPoolExecutor(32) as pool:
        asked = {
            f"question {n}": pool.submit(
                server.ask,
                f"question {n}",
                f"data:video/mp4;base64,{b64encode(bytes([n])).decode()}",
            )
            for n in range(32)
        }
        server.wait_for("requests_active", 32)
        time.sleep(0.2)
        server.pretended.gate.set()
        for question, reply in asked.items():
            status, document = reply.result()
            assert (status, document["choices"][0]["message"]["content"]) == (200, f"{question} ")
    sizes = [len(batch) for batch in server.pretended.batches]
    assert sum(sizes) == 32
    assert max(sizes) == 8
    assert server.metric("requests_active") == 0
    assert server.metric("videos_held") == 4


def test_an_idle_model_is_unloaded_and_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(monkeypatch, idle_s=0.3) as server:
        assert server.ask("What?")[0] == 200
        server.wait_for("model_loaded", 0)
        assert server.metric("videos_held") == 0
        assert server.ask("Why?")[0] == 200
        assert server.pretended.loads == 2
        assert server.metric("model_loaded") == 1
