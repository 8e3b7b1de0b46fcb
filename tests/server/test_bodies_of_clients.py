"""Bodies that clients send: accepted as they mean it, or refused by a key's name.

Their shapes are from the public sources of 2026: Open WebUI's `routers/openai.py` (both protocols)
and `utils/payload.py`; lmms-eval's `models/chat/openai.py`, `models/chat/async_openai.py`,
`models/simple/openai.py` and `protocol.py`. `FORMS` are forms of cameras' programs, of captioners
and of other clients, which all ask one question about the same pictures.
"""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.server.media import Media, opened_pictures
from dycoke_cli.server.messages import JpegTimes
from tests.forms import NEEDS_LIBRARY
from tests.server.pretended import ample
from tests.server.requests import read, read_responses

PICTURE = "data:image/png;base64,AAAA"


def text(content: str) -> dict[str, str]:
    return {"type": "text", "text": content}


def picture() -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": PICTURE}}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [*parts]}


def test_a_chat_of_open_webui() -> None:
    """A system prompt, pictures in an earlier turn, and the parameters that its page has."""
    messages = [
        {"role": "system", "content": "Be brief."},
        user(text("What is it?"), picture(), picture()),
        {"role": "assistant", "content": "A star."},
        {"role": "user", "content": "What colour?"},
    ]
    request = read(
        messages, stream=True, model="mini", stream_options={"include_usage": True},
        temperature=0.7, top_p=0.9, max_tokens=64, seed=3, stop=["\n\n"], top_k=40, min_p=0.1,
        repetition_penalty=1.1, frequency_penalty=0.0, presence_penalty=0.0,
    )  # fmt: skip
    assert request.history == (("Be brief.\n\nWhat is it?", "A star."),)
    assert request.question == "What colour?"
    [video] = request.videos
    assert video.pictures == (PICTURE, PICTURE)
    assert (request.stream, request.include_usage) == (True, True)
    options = request.request.generation
    assert (options.max_tokens, options.temperature, options.seed) == (64, 0.7, 3)
    assert options.tokens.stop == ("\n\n",)


def test_responses_of_open_webui() -> None:
    """With the kind of connection that its settings call `responses`."""
    items = [
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "When?"}, {"type": "input_image", "image_url": PICTURE},
        ]},
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": "I look."},
        ]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And?"}]},
    ]  # fmt: skip
    more = {"stream": True, "model": "mini", "temperature": 0.7, "max_output_tokens": 64}
    request = read_responses(items, instructions="Be brief.", **more)
    assert request.history == (("Be brief.\n\nWhen?", "I look."),)
    assert request.question == "And?"
    assert len(request.videos) == 1
    assert request.request.generation.max_tokens == 64


def lmms_eval(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [user(*parts)], "model": "mini", "max_tokens": 1024, "temperature": 0}


@pytest.mark.parametrize(
    "parts",
    [[picture(), picture(), picture(), text("Which?")], [text("Which?"), *[picture()] * 3]],
    ids=["chat", "simple"],
)
def test_the_frames_of_lmms_eval_are_one_video(parts: list[dict[str, Any]]) -> None:
    request = read(**lmms_eval(*parts))
    [video] = request.videos
    assert len(video.pictures) == 3
    assert request.question == "Which?"
    options = request.request.generation
    assert (options.max_tokens, options.temperature) == (1024, 0)


def test_frames_with_their_times_are_one_video() -> None:
    """What its client for Qwen3-VL sends: a text with the time before each frame."""
    parts = [part for second in "123" for part in (text(f"<{second}.0 seconds>"), picture())]
    request = read(**lmms_eval(*parts, text("Which?")))
    [video] = request.videos
    assert (len(video.pictures), video.times_s) == (3, (1, 2, 3))
    assert request.question == "Which?"


JPEGS = [b"\xff\xd8\xff" + bytes([number]) * 59 + b"\xfb\xef" for number in range(3)]
ASKED = "What does the blue star do?"
IGNORED = {
    "store": True,
    "keep_alive": "5m",
    "verbosity": "low",
    "cache_prompt": True,
    "user": "garage",
    "num_ctx": 4096,
}


def shown(content: bytes, kind: str = "image/jpeg", **more: Any) -> dict[str, Any]:
    """A part with a picture."""
    url = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return {"type": "image_url", "image_url": {"url": url, **more}}


def written(change: Callable[[str], str]) -> Callable[[list[bytes]], dict[str, Any]]:
    """The body with pictures whose base64 a client writes in its own way."""

    def body(jpegs: list[bytes]) -> dict[str, Any]:
        contents = [change(base64.b64encode(jpeg).decode()) for jpeg in jpegs]
        urls = [f"data:image/jpeg;base64,{content}" for content in contents]
        parts = [{"type": "image_url", "image_url": url} for url in urls]
        return {"messages": [user(*parts, text(ASKED))]}

    return body


def labelled(*form: str) -> Callable[[list[bytes]], dict[str, Any]]:
    """The body with a label before each picture."""

    def body(jpegs: list[bytes]) -> dict[str, Any]:
        parts = []
        for number, jpeg in enumerate(jpegs):
            label = form[number % len(form)].format(number=number, next=number + 1)
            parts += [text(label), shown(jpeg)]
        return {"messages": [user(*parts, text(ASKED))]}

    return body


def asked(**more: Any) -> Callable[[list[bytes]], dict[str, Any]]:
    """The body with these keys beside the question and the pictures behind it."""
    return lambda jpegs: {"messages": [user(text(ASKED), *map(shown, jpegs))], **more}


def urls(jpegs: list[bytes]) -> list[str]:
    return [shown(jpeg)["image_url"]["url"] for jpeg in jpegs]


FORMS: dict[str, Callable[[list[bytes]], dict[str, Any]]] = {
    "pictures behind the question": asked(model="mini"),
    "with a detail": lambda jpegs: {
        "messages": [user(text(ASKED), *(shown(jpeg, detail="low") for jpeg in jpegs))]
    },
    "labels": labelled("Image {next}:"),
    "labels with a count": labelled("Frame {next} of 3"),
    "labels of a camera": labelled("garage_door (frame {next}):"),
    "times": labelled("<{number}.0 seconds>"),
    "clocks": labelled("00:0{number}"),
    "numbers and times": labelled("Frame {next} ({number}.0s):"),
    "blank texts": labelled("\n"),
    "a message each": lambda jpegs: {
        "messages": [*(user(shown(jpeg)) for jpeg in jpegs), {"role": "user", "content": ASKED}]
    },
    "a labelled message each": lambda jpegs: {
        "messages": [
            *(user(text(f"Image {n}:"), shown(jpeg)) for n, jpeg in enumerate(jpegs)),
            user(text(ASKED)),
        ]
    },
    "url as a text": written(str),
    "no padding": written(lambda content: content.rstrip("=")),
    "line ends": written(lambda content: "\r\n".join(textwrap.wrap(content, 19))),
    "alphabet of urls": written(lambda content: content.replace("+", "-").replace("/", "_")),
    **{
        f"type {kind!r}": lambda jpegs, kind=kind: {
            "messages": [user(*(shown(jpeg, kind) for jpeg in jpegs), text(ASKED))]
        }
        for kind in ("", "application/octet-stream", "image/jpeg;name=a.jpg", "IMAGE/JPEG")
    },
    "no thinking": asked(chat_template_kwargs={"enable_thinking": False}, think=False),
    "no reasoning": asked(reasoning_effort="none", extra_body=None, temperature=0.0, seed=-1),
    "audio": asked(mm_processor_kwargs={"use_audio_in_video": True, "fps": 1}),
    "a tag": asked(model="Mini:latest"),
    **{f"model {name!r}": asked(model=name) for name in ("openai/mini", "hosted_vllm/Mini:8b", "")},
    "a video of pictures": lambda jpegs: {
        "messages": [user({"type": "video", "video": urls(jpegs), "fps": 2}, text(ASKED))]
    },
    **{
        f"pictures of transformers by {key}": lambda jpegs, key=key: {
            "messages": [user(*({"type": "image", key: url} for url in urls(jpegs)), text(ASKED))]
        }
        for key in ("image", "url")
    },
    "keys without effect": asked(**IGNORED),
    "a name": lambda jpegs: {
        "messages": [{**user(text(ASKED), *map(shown, jpegs)), "name": "garage"}]
    },
}
"""Bodies of clients about pictures, all of which mean the same, by what is special about each."""


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_clients_are_the_same_question(form: str) -> None:
    request = read(**FORMS[form](JPEGS))
    assert (request.question, request.history) == (ASKED, ())
    [video] = request.videos
    with opened_pictures(video.pictures, Media(), ample()) as file:
        assert [Path(path).read_bytes() for path in file.source] == JPEGS
    assert video.times_s in ((), (0, 1, 2))
    assert request.times == JpegTimes()


def test_keys_without_effect_are_listed() -> None:
    body = FORMS["keys without effect"](JPEGS)
    body["messages"][0]["name"] = "garage"
    body["messages"][0]["content"][1]["image_url"]["detail"] = "low"
    listed = {*IGNORED, "messages[].name", "messages[].content[].image_url.detail"}
    assert {*read(**body).ignored} == listed


def test_videos_of_pictures_stay_apart() -> None:
    videos = [{"type": "video", "video": urls(part)} for part in (JPEGS, JPEGS[:2])]
    messages = [user(*videos, shown(JPEGS[0]), text(ASKED))]
    items = [{"role": "user", "content": [*videos, {"type": "input_text", "text": ASKED}]}]
    assert [len(video.pictures) for video in read(messages=messages).videos] == [3, 2, 1]
    assert [len(video.pictures) for video in read_responses(items).videos] == [3, 2]
    for key in ("video", "url"):
        part = {"type": "video", key: "data:video/mp4;base64,AAAA"}
        [video] = read(messages=[user(part, text(ASKED))]).videos
        assert video.url == "data:video/mp4;base64,AAAA"


SCHEMA = {"type": "object", "properties": {"what": {"type": "string"}}}


@NEEDS_LIBRARY
@pytest.mark.parametrize(
    ("kind", "form", "body"),
    [
        *(("json", SCHEMA, {"response_format": {"type": f"json_{kind}", "schema": SCHEMA}})
          for kind in ("object", "schema")),
        *(("json", SCHEMA, {key: SCHEMA}) for key in ("json_schema", "guided_json")),
        ("json", SCHEMA, {"json_schema": json.dumps(SCHEMA), "grammar": ""}),
        *(("regex", "[0-9]+", {key: "[0-9]+"}) for key in ("regex", "guided_regex")),
        *(("grammar", 'root ::= "x"', {key: 'root ::= "x"'})
          for key in ("grammar", "ebnf", "guided_grammar")),
    ],
    ids=str,
)  # fmt: skip
def test_forms_of_an_answer_as_other_servers_take_them(kind: str, form: Any, body: Any) -> None:
    both = [] if "response_format" in body else [read_responses(ASKED, **body)]
    for request in (read(**asked(**body)(JPEGS)), *both):
        found = request.request.generation.structured
        definition = json.loads(found.definition) if kind == "json" else found.definition
        assert (found.kind, definition, request.ignored) == (kind, form, ())


def test_texts_that_are_no_labels_divide_pictures() -> None:
    for between in ("Then?", "Is it 3?", "and after 5 minutes of rain it was like this", "b"):
        parts = [text(between), shown(JPEGS[0]), text(between), shown(JPEGS[1])]
        request = read(messages=[user(*parts, text(ASKED))])
        assert len(request.videos) == 2
        assert request.question == "\n".join([between, between, ASKED])


def test_a_question_that_looks_like_a_label() -> None:
    """It is about several pictures, or there is no other text."""
    question = text("Describe these 3 frames:")
    for parts in (map(shown, JPEGS), [shown(JPEGS[0])], [*map(shown, JPEGS), text("Be brief.")]):
        request = read(messages=[user(question, *parts)])
        assert request.question.startswith("Describe these 3 frames:")
        assert len(request.videos) == 1


def test_labels_of_two_cameras_are_two_videos() -> None:
    labels = ("garage frame 1:", "garage frame 2:", "garden frame 1:")
    parts = [part for label, jpeg in zip(labels, JPEGS, strict=True)
             for part in (text(label), shown(jpeg))]  # fmt: skip
    request = read(messages=[user(*parts, text(ASKED))])
    assert [len(video.pictures) for video in request.videos] == [2, 1]


def test_pictures_as_pictures() -> None:
    """Each for itself, and labels are texts of the question."""
    body = labelled("Image {next}:")(JPEGS)
    request = read(**body, media_io_kwargs={"image": {"as_frames": False}})
    assert [len(video.pictures) for video in request.videos] == [1, 1, 1]
    assert request.question == "\n".join(["Image 1:", "Image 2:", "Image 3:", ASKED])


@pytest.mark.parametrize(
    ("labels", "times_s"),
    [
        (("<0.5 seconds>", "<2 seconds>", "<10.25 seconds>"), (0.5, 2, 10.25)),
        (("1 second", "2 seconds", "3 seconds"), (1, 2, 3)),
        (("t=250ms", "t=500ms", "t=750ms"), (0.25, 0.5, 0.75)),
        (("1:05", "59:59.5", "1:00:00"), (65, 3599.5, 3600)),
        (("Frame 1 (0:05):", "Frame 2 (0:07):", "Frame 3 (0:09):"), (5, 7, 9)),
        (("0:09", "0:07", "0:05"), ()),  # not ascending
        (("Image 1:", "Image 2:", "Image 3:"), ()),
    ],
    ids=str,
)
def test_times_of_labels(labels: tuple[str, ...], times_s: tuple[float, ...]) -> None:
    request = read(**labelled(*labels)(JPEGS))
    [video] = request.videos
    assert (video.times_s, request.question) == (times_s, ASKED)
