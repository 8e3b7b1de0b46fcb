"""What a body asks: read by hand, and what isn't such a body."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.engine.generation_options import GenerationOptions, TokenOptions, TypedOptions
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.server.chat import ChatRequest, check_model, parse
from dycoke_cli.server.exchange import for_model
from dycoke_cli.server.messages import VideoPart
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.refused import Refused, refused
from dycoke_cli.server.request_keys import BODY
from tests.forms import NEEDS_LIBRARY
from tests.server.pretended import DEFAULTS, make_service
from tests.server.requests import MOST, URL, about, read


def test_a_question_alone() -> None:
    request = read([{"role": "user", "content": "What?"}], model="mini")
    assert request == ChatRequest((), "What?", (), DEFAULTS, False, False)


@pytest.mark.parametrize(
    ("part", "video"),
    [
        ({"type": "video_url", "video_url": URL}, VideoPart(URL)),
        ({"type": "video_url", "video_url": {"url": URL}}, VideoPart(URL)),
        ({"type": "input_video", "input_video": {"data": "AAAA"}}, VideoPart(URL)),
        ({"type": "input_video", "input_video": {"url": URL}}, VideoPart(URL)),
    ],
)
def test_a_video_as_vllm_and_llama_cpp_take_it(part: dict[str, Any], video: VideoPart) -> None:
    assert about(part).videos == (video,)


def test_several_turns() -> None:
    request = read(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "video_url", "video_url": URL}]},
            {"role": "user", "content": "What?"},
            {"role": "assistant", "content": "A star."},
            {"role": "user", "content": [{"type": "text", "text": "Which colour?"}]},
        ]
    )
    assert request.videos == (VideoPart(URL),)
    assert request.history == (("Be brief.\n\nWhat?", "A star."),)
    assert request.question == "Which colour?"


@pytest.mark.parametrize(
    ("video", "frames", "fps", "most"),
    [
        ({}, 8, None, None),
        ({"num_frames": 16}, 16, None, None),
        ({"num_frames": 10**9}, MOST, None, None),
        ({"num_frames": -1}, MOST, None, None),
        ({"fps": 2}, 32, 2.0, MOST),
        ({"fps": 1e300, "num_frames": 10**9}, 32, 1000.0, MOST),
        ({"fps": 2, "num_frames": 10}, 32, 2.0, 10),
    ],
)
def test_frames_have_a_ceiling(video: Any, frames: int, fps: Any, most: Any) -> None:
    sampling = about(media_io_kwargs={"video": video}).request.sampling
    assert (sampling.frames, sampling.fps, sampling.max_frames) == (frames, fps, most)


def test_frames_that_the_client_chose_are_all_read() -> None:
    jpegs = {"type": "video_url", "video_url": "data:video/jpeg;base64,/9j/,/9j/"}
    assert about(jpegs).request.sampling.frames == MOST
    assert about(jpegs, media_io_kwargs={"video": {"num_frames": 3}}).request.sampling.frames == 3


def test_a_budget_of_visual_tokens() -> None:
    """Under `dycoke`, for max_tokens of the body is the length of the answer; null is none."""
    body = json.dumps({"messages": [{"role": "user", "content": "What?"}]}).encode()
    limited = replace(DEFAULTS, video_tokens=64)
    assert about().request.video_tokens is None
    assert about(dycoke={"video_tokens": 448}, max_tokens=5).request.video_tokens == 448
    assert parse(body, limited, MOST).request.video_tokens == 64
    body = body[:-1] + b', "dycoke": {"video_tokens": null}}'
    assert parse(body, limited, MOST).request.video_tokens is None
    for value in (0, -1, 2.0, True, "448"):
        with pytest.raises(Refused, match=r"dycoke\.video_tokens must be 1 or more"):
            about(dycoke={"video_tokens": value})


def test_what_is_said_is_wanted_by_a_key() -> None:
    """No file can be named, which the server would read."""
    assert about().request.subtitles is None
    for wanted in ("speech", "speech:de", None):
        assert about(dycoke={"subtitles": wanted}).request.subtitles == wanted
    for value in ("auto", "/etc/passwd", "speech:", "speech:german", 1, ["speech"]):
        with pytest.raises(Refused, match=r"dycoke\.subtitles must be"):
            about(dycoke={"subtitles": value})


def test_what_cannot_be_read_in_windows_is_refused_before_it_is_opened() -> None:
    service = make_service(Engine(DEFAULTS), Metrics())
    part = {"type": "video_url", "video_url": URL}
    budget = {"video_tokens": 448}
    for request, sentence in (
        (about(dycoke={**budget, "method": "flashvid"}), "the whole video at once, and {} reads"),
        (about(part, part, dycoke=budget), "{} takes one video"),
    ):
        with pytest.raises(UsageError) as raised:
            for_model(service, request)
        assert sentence.format("dycoke.video_tokens") in str(refused(raised.value))


def test_compression_and_generation_of_one_request() -> None:
    request = about(
        dycoke={"method": "dycoke-plus:retain=0.25"},
        max_completion_tokens=7,
        temperature=0.5,
        seed=3,
        stream=True,
        stream_options={"include_usage": True},
        stop=None,
        n=1,
        top_p=1.0,
        user="somebody",
    )
    assert (request.request.method.name, request.request.method.parameters()["retain"]) == (
        "dycoke-plus",
        0.25,
    )
    assert request.request.generation == GenerationOptions(
        max_tokens=7, temperature=0.5, seed=3, tokens=TokenOptions(top_p=1.0)
    )
    assert (request.stream, request.include_usage) == (True, True)
    assert about(max_tokens=5).request.generation.max_tokens == 5


@pytest.mark.parametrize(
    "keys",
    [
        {"structured_outputs": {"choice": ["left", "right"]}},
        {"guided_choice": ["left", "right"]},
        {"guided_choice": ["left", "right"], "structured_outputs": {"choice": ["left", "right"]}},
    ],
)
def test_options_as_vllm_takes_them(keys: dict[str, Any]) -> None:
    assert about(**keys).request.generation.typed == TypedOptions(("left", "right"))
    assert about().request.generation.typed is None


SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}


@NEEDS_LIBRARY
@pytest.mark.parametrize(
    ("keys", "form"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, ("json", '{"type": "object"}')),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "schema": SCHEMA},
                }
            },
            ("json", json.dumps(SCHEMA)),
        ),
        ({"structured_outputs": {"json": SCHEMA}}, ("json", json.dumps(SCHEMA))),
        ({"structured_outputs": {"json": json.dumps(SCHEMA)}}, ("json", json.dumps(SCHEMA))),
        ({"structured_outputs": {"json_object": True}}, ("json", '{"type": "object"}')),
        ({"structured_outputs": {"json_object": False}}, None),
        ({"structured_outputs": {"regex": "[ab]+"}}, ("regex", "[ab]+")),
        ({"structured_outputs": {"grammar": 'root ::= "a"'}}, ("grammar", 'root ::= "a"')),
    ],
)
def test_the_form_of_an_answer_as_openai_and_vllm_have_it(
    keys: dict[str, Any], form: tuple[Any, str] | None
) -> None:
    structured = about(**keys).request.generation.structured
    assert structured == (None if form is None else StructuredOutput(*form))


def picture(number: int) -> dict[str, Any]:
    url = f"data:image/png;base64,{number:04d}"
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def test_consecutive_pictures_are_the_frames_of_one_video() -> None:
    text = {"type": "text", "text": "And here?"}
    request = about(picture(1), picture(2), text, picture(3), media_io_kwargs={"video": {"fps": 2}})
    urls = [f"data:image/png;base64,{number:04d}" for number in (1, 2, 3)]
    assert request.videos == (
        VideoPart("", pictures=(urls[0], urls[1])),
        VideoPart("", pictures=(urls[2],)),
    )
    assert (request.question, request.times.fps) == ("And here?\nWhat?", 2)
    assert about(picture(1)).request.sampling.frames == MOST  # all of them, as of a list of JPEGs


def test_pictures_of_two_messages_are_two_videos() -> None:
    text = {"type": "text", "text": "?"}
    asked = [{"role": "user", "content": [picture(number), text]} for number in (1, 2)]
    request = read([asked[0], {"role": "assistant", "content": "A star."}, asked[1]])
    assert [len(video.pictures) for video in request.videos] == [1, 1]


def test_how_tokens_are_drawn_and_where_the_answer_stops() -> None:
    keys = {"top_p": 0.9, "top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1}
    drawn = about(temperature=0.7, **keys, stop=["\n", "", "END", "\n"])
    assert drawn.request.generation.tokens == TokenOptions(**keys, stop=("\n", "END"))
    assert about(temperature=0.7, top_k=-1).request.generation.tokens == TokenOptions(top_k=0)
    greedy = about(**keys, stop=".").request.generation
    assert greedy.tokens == TokenOptions(repetition_penalty=1.1, stop=(".",))


USER = {"role": "user", "content": "What?"}


def deep(levels: int) -> Any:
    return [] if levels == 1 else [deep(levels - 1)]


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    ("messages", {}, "messages must be a list"),
    ([], {}, "there must be 1 to 1000 messages"),
    ([USER] * 1001, {}, "there must be 1 to 1000 messages"),
    ([7], {}, r"messages\[0\] must be an object"),
    ([{"role": "function", "content": "x"}], {}, "must be system, user or assistant"),
    ([{"role": "tool", "content": "x"}], {}, "must be system, user or assistant"),
    ([USER, *[{"role": "assistant", "content": "x"}] * 2], {}, "must follow one of the user"),
    ([USER, {"role": "assistant", "content": "x"}], {}, "the last message must be of the user"),
    ([{"role": "user", "content": "  "}], {}, "the last message has no text"),
    ([{"role": "user", "content": [{"type": "image_file"}]}], {}, "image_url or image"),
    ([{"role": "user", "content": [{"type": "image_url"}]}], {}, "image_url must be a text"),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}]}], {},
     "image_url.url must be a picture"),
    ([{"role": "user", "content": "\ud800"}], {}, "content must be a text"),
    ([{"role": "system", "content": [{"type": "video_url", "video_url": URL}]}, USER], {},
     "only messages of the user have videos"),
    ([{"role": "user", "content": [{"type": "video_url", "video_url": None}]}], {},
     "video_url must be a text"),
    ([USER, {"role": "assistant", "content": None, "tool_calls": [{}]}, USER], {},
     r"messages\[1\].tool_calls isn't supported"),
    ([USER], {"stop": 5}, "stop must be a list"),
    ([USER], {"stop": ["x" * 1001]}, "must have 1 to 1000 characters"),
    ([USER], {"stop": [str(n) for n in range(17)]}, "stop has 17 texts, and at most 16"),
    ([USER], {"top_p": 2}, "top_p must be"),
    ([USER], {"top_p": "1"}, "top_p must be a number"),
    ([USER], {"top_k": 1.5}, "top_k must be a whole number"),
    ([USER], {"top_k": -2}, "top_k must be 0 or more"),
    ([USER], {"min_p": 1.5}, "min_p must be"),
    ([USER], {"repetition_penalty": 0}, "repetition_penalty must be"),
    ([USER], {"guided_choice": ["a", "b"], "stop": "."}, "scored, not generated"),
    ([USER], {"response_format": {"type": "xml"}}, "must be text, json_object or json_schema"),
    ([USER], {"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}},
     "send response_format or structured_outputs.regex, not both"),
    ([USER], {"structured_outputs": {"choice": ["a", "b"], "json_object": True}},
     "send structured_outputs.choice or structured_outputs.json_object, not both"),
    ([USER], {"stream": "yes"}, "stream must be true or false"),
    ([USER], {"dycoke": {"method": "nosuch"}}, "there is no method 'nosuch'"),
    ([USER], {"dycoke": {"method": "evs:retain=2"}}, "retain must be"),
    ([USER], {"max_tokens": 0}, "max_tokens must be"),
    ([USER], {"temperature": float("nan")}, "temperature must be"),
    ([USER], {"temperature": 10**400}, "temperature has too many digits"),
    ([USER], {"max_tokens": -(10**400)}, "max_tokens has too many digits"),
    ([USER], {"max_completion_tokens": True}, "max_completion_tokens must be a whole number"),
    ([USER], {"seed": 10**400}, "seed has too many digits"),
    ([USER], {"media_io_kwargs": {"video": {"num_frames": -(10**400)}}}, "has too many digits"),
    ([USER], {"media_io_kwargs": {"video": {"num_frames": "9"}}}, "num_frames must be a number"),
    ([USER], {"media_io_kwargs": {"video": {"num_frames": True}}}, "num_frames must be a number"),
    ([USER], {"media_io_kwargs": {"video": {"num_frames": 0}}}, "frames must be 1 or more"),
    ([USER], {"media_io_kwargs": {"video": {"fps": -1}}}, "fps must be above 0"),
    ([USER], {"media_io_kwargs": {"video": {"fps": float("nan")}}}, "fps must be above 0"),
    ([USER], {"media_io_kwargs": {"video": {"fps": 1e-320}}}, "fps is so low"),
    ([USER], {"temperature": 1e-320}, "temperature must be 0 or at least 1e-06"),
    ([USER], {"dycoke": {"method": "x" * 1001}}, "method has more than 1000 characters"),
    ([USER], {"guided_choice": ["yes"]}, "two options or more"),
    ([USER], {"guided_choice": ["yes", "yes"]}, "the option 'yes' is given 2 times"),
    ([USER], {"structured_outputs": {"choice": ["yes", " "]}}, "an option is empty"),
    ([USER], {"guided_choice": ["a", "b"], "temperature": 1}, "scored, not sampled"),
    ([USER], {"media_io_kwargs": 3}, "media_io_kwargs must be an object"),
    ([USER], {"metadata": deep(80)}, "the body can't be read: it is nested more than 80 deep"),
]  # fmt: skip


WRONG_FORMS: list[tuple[Any, dict[str, Any], str]] = [
    ([USER], {"response_format": {"type": "json_schema", "json_schema": {"schema": {"if": {}}}}},
     "response_format.json_schema.schema: the schema can't be followed: .*if"),
    ([USER], {"structured_outputs": {"regex": "a("}}, "regular expression can't be followed"),
    ([USER], {"structured_outputs": {"json": "{"}}, "structured_outputs.json: the schema can't be"),
    ([USER], {"structured_outputs": {"json": [1]}}, "json: the schema must be a JSON object"),
    ([USER], {"structured_outputs": {"json": {"properties": {"\ud800": {}}}}}, "isn't Unicode"),
    ([USER], {"structured_outputs": {"json": {"minimum": 10**4000}}}, "number out of range"),
    ([USER], {"structured_outputs": {"json": {"type": "number", "multipleOf": 999983}}},
     "takes more than 0.5 s or 128 MiB to compile"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "more", "sentence"),
    [*WRONG, *(pytest.param(*case, marks=NEEDS_LIBRARY) for case in WRONG_FORMS)],
)
def test_what_is_wrong_is_said(messages: Any, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises((Refused, UsageError), match=sentence):
        read(messages, **more)


@NEEDS_LIBRARY
def test_a_form_takes_no_stop_text() -> None:
    with pytest.raises(Refused, match="leave out stop"):
        about(response_format={"type": "json_object"}, stop="x")


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens", "temperature", "seed"])
@pytest.mark.parametrize("value", ["x" * 10**5, [1] * 10**5, {"x": "y" * 10**5}])
def test_what_is_long_is_not_repeated_whole(key: str, value: Any) -> None:
    with pytest.raises(Refused, match=f"{key} must be") as caught:
        read([USER], **{key: value})
    assert len(str(caught.value)) < 250
    assert len(str(Refused("x" * 10**5).document)) < 3000


def test_a_rate_without_end_is_of_no_effect() -> None:
    """The times of a list of JPEGs stay finite."""
    jpegs = {"type": "video_url", "video_url": "data:video/jpeg;base64,/9j/,/9j/"}
    request = about(jpegs, media_io_kwargs={"video": {"fps": 10**400}})
    assert (request.request.sampling.fps, request.times.fps) == (1000, 1e9)


def test_many_keys_of_one_object_take_no_time() -> None:
    pairs = ",".join(f'"{number}":1' for number in range(50_000))
    began = time.process_time()
    with pytest.raises(Refused, match="has the key 49999 twice"):
        parse(f'{{{pairs},"49999":1}}'.encode(), DEFAULTS, MOST)
    assert time.process_time() - began < 2  # it was minutes


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"[]", b"9" * 5000])
def test_no_body(body: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse(body, DEFAULTS, MOST)
    assert caught.value.status == 400


def test_it_says_where_a_body_is_no_json() -> None:
    with pytest.raises(Refused, match=r"isn't JSON: Expecting .* at line 2, column 14"):
        parse(b'{"model": "mini",\n "messages": ]}', DEFAULTS, MOST)


def test_a_wrong_value_is_named_by_its_key() -> None:
    """As clients of OpenAI's API read it, of every key."""
    named: dict[str, list[str | None]] = {}
    for key in BODY.read:
        for wrong in ("nonsense", [1], {"a": 1}, -5):
            try:
                parse(json.dumps({"messages": [USER], key: wrong}).encode(), DEFAULTS, MOST)
            except Exception as error:
                named.setdefault(key, []).append(refused(error).parameter)
    thinking = {key for key in BODY.read if "think" in key or "reasoning" in key}
    assert {*named} == BODY.read - thinking  # whose other values are ignored
    flat = {key: {re.split(r"[.\[]", str(one))[0] for one in found} for key, found in named.items()}
    assert flat == {key: {key} for key in named}
    for error in (VideoError("clip: it is damaged"), UsageError("clip.mp4: it has no such part")):
        assert refused(error).parameter is None
    own = {"method": "nonsense", "video_tokens": 0}
    for key, wrong in own.items():
        with pytest.raises((Refused, UsageError)) as caught:
            read([USER], dycoke={key: wrong})
        assert refused(caught.value).parameter == f"dycoke.{key}"


def test_a_folder_is_served_by_its_name(tmp_path: Path) -> None:
    """Clients learn nothing of where it is."""
    (folder := tmp_path / "mine").mkdir()
    defaults = replace(DEFAULTS, model=str(folder))
    assert defaults.model_name == "mine"
    check_model({"model": "openai/Mine:latest"}, defaults)
    check_model({"model": str(folder)}, defaults)
    with pytest.raises(Refused, match="no model mini; this server has mine alone"):
        check_model({"model": "mini"}, defaults)


def test_another_model() -> None:
    with pytest.raises(Refused, match="no model gpt-4o; this server has mini alone") as caught:
        read([USER], model="gpt-4o")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


def test_too_many_videos() -> None:
    with pytest.raises(Refused, match="16 videos, not 17"):
        about(*[{"type": "video_url", "video_url": URL}] * 17)
