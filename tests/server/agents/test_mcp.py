"""The tools of `dycoke mcp` by the official client: in this process, and over stdin and stdout."""

from __future__ import annotations

import io
import json
import os
import sys
from base64 import b64decode
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from PIL import Image

from dycoke_cli.engine.generation_options import TypedOptions
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.loop.unloaded_model import UnloadedModel
from dycoke_cli.server.mcp_server import STAGES, make_mcp_server, progress_of
from dycoke_cli.server.video_tools import VideoTools
from tests import warm
from tests.cli.fake_engine import SHOWN_S, Fake, know
from tests.families.sessions import loaded_of
from tests.forms import NEEDS_LIBRARY
from tests.loop.asking import engine_of
from tests.pages import blocks
from tests.server.pretended import DEFAULTS

ROOT = Path(__file__).parents[3]
VIDEOS = ROOT / "sample_videos"
MOVE = VIDEOS / "move.mp4"
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[VideoTools, Fake]]:
    """Tools whose model only pretends; videos are read, and probed as they are."""
    pretended = Fake().install(monkeypatch, videos=True)
    engine = engine_of(pretended, DEFAULTS)
    engine.start()
    yield VideoTools([VIDEOS], DEFAULTS, engine, 16), pretended
    engine.close()


def talk(tools: VideoTools, conversation: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    async def talking() -> None:
        async with Client(make_mcp_server(tools, "sample_videos")) as client:
            await conversation(client)

    anyio.run(talking)


def called(tools: VideoTools, tool: str, progress: Any = None, **given: Any) -> Any:
    """What a tool gives, without a traceback in it."""
    results = []

    async def conversation(client: Client) -> None:
        results.append(await client.call_tool(tool, given, progress_callback=progress))

    talk(tools, conversation)
    assert "Traceback" not in str(results)
    return results[0]


def text_of(result: Any) -> str:
    return str(result.content[0].text)


def test_the_tools_are_described(pretended: tuple[VideoTools, Fake]) -> None:
    async def conversation(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {*tools} == {"ask_video", "when", "probe_video", "frames"}
        schema = tools["ask_video"].input_schema
        assert schema["required"] == ["video", "question"]
        assert "context" not in schema["properties"]
        assert all(one.get("description") for one in schema["properties"].values())
        schema = tools["when"].input_schema
        assert schema["required"] == ["video", "question"]
        assert {*schema["properties"]} == {
            "video", "question", "start", "end", "every", "method", "frames"
        }  # fmt: skip
        assert all(one.get("description") for one in schema["properties"].values())

    talk(pretended[0], conversation)


def test_a_question(pretended: tuple[VideoTools, Fake]) -> None:
    tools, model = pretended
    progress: list[tuple[float, float | None, str | None]] = []

    async def note(done: float, total: float | None, message: str | None) -> None:
        progress.append((done, total, message))

    given = {"video": "move.mp4", "question": "What happens?", "start": 1, "frames": 99}
    result = called(tools, "ask_video", note, **given)
    assert not result.is_error
    assert text_of(result) == "What happens? "
    assert result.structured_content == {"answer": "What happens? ", "warnings": []}
    assert model.read == [16]
    done = [one for one, _, _ in progress]
    assert done == sorted(done)
    assert max(done) <= 1
    assert {total for _, total, _ in progress} == {1.0}
    assert progress[-1][2] == "Generating"


def test_a_choice_goes_to_the_model_with_its_options(pretended: tuple[VideoTools, Fake]) -> None:
    tools, model = pretended
    given = {"video": str(MOVE), "question": "Which?", "choices": ["red", "blue"]}
    assert not called(tools, "ask_video", **given, method="evs").is_error
    typed = model[0].asked[0]["typed"]
    assert typed.texts == ("red", "blue")


SCHEMA = {
    "type": "object",
    "properties": {"side": {"enum": ["left", "right"]}, "stars": {"$ref": "#/$defs/Count"}},
    "required": ["side", "stars"],
    "additionalProperties": False,
    "$defs": {"Count": {"type": "integer", "minimum": 0, "maximum": 9}},
}


@NEEDS_LIBRARY
@pytest.mark.slow
def test_an_answer_is_an_object_of_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a random model, which writes no JSON by itself; by jsonschema."""
    Fake(size={"move.mp4": 32}).install_videos(monkeypatch)
    loaded = loaded_of("llava_onevision")
    engine = Engine(DEFAULTS, loaded=loaded, unloaded=UnloadedModel("mini", True, loaded.info))
    tools = VideoTools([VIDEOS], DEFAULTS, engine, 256)
    engine.start()
    given = {"video": "move.mp4", "question": "Where is it?"}
    with closing(engine):
        result = called(tools, "ask_video", **given, schema=SCHEMA)
        free = called(tools, "ask_video", **given)
    assert not result.is_error, text_of(result)
    found = result.structured_content
    jsonschema.validate(found["parsed"], SCHEMA)
    assert json.loads(text_of(result)) == json.loads(found["answer"]) == found["parsed"]
    assert "parsed" not in free.structured_content


def test_when_something_is_the_case(
    pretended: tuple[VideoTools, Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch)
    tools, model = pretended
    progress: list[float] = []

    async def note(done: float, total: float | None, message: str | None) -> None:
        progress.append(done)

    given = {"video": "move.mp4", "every": 1, "frames": 2}
    result = called(tools, "when", note, **given, question="A blue star.")
    found = result.structured_content
    assert not result.is_error
    [one] = found["when"]
    assert one["start"] == pytest.approx(SHOWN_S[0], abs=0.04)
    assert one["end"] == pytest.approx(SHOWN_S[1], abs=0.04)
    assert (one["inside"], one["outside"]) == (0.875, 0.125)
    assert found["answer"] in text_of(result)
    assert '"inside"' in text_of(result)
    missed = called(tools, "when", **given, question="A red one.")
    assert (text_of(missed), missed.structured_content["when"]) == ("not found", [])
    late = called(tools, "when", **given, question="A blue star.", start=2)
    assert [one["start"] for one in late.structured_content["when"]] == [2.0]
    assert progress == sorted(progress)
    assert 0 < max(progress) <= 1
    asked = {question for batch in model.batches for question in batch}
    assert 'Does this happen in the video: "A blue star"? Answer yes or no.' in asked
    assert {asked["typed"] for session in model for asked in session.asked} == {
        TypedOptions.yes_no()
    }


ABOUT = {"video": "move.mp4", "question": "?"}


@pytest.mark.parametrize(
    ("tool", "given", "sentence"),
    [
        ("when", {"video": "/etc/passwd", "question": "?"}, "there is no file /etc/passwd"),
        ("when", {"video": "move.mp4", "question": " "}, "a question is empty"),
        ("when", {**ABOUT, "every": 0}, "greater than 0"),
        ("when", {**ABOUT, "every": 1e-300}, "more than 100,000 in"),
        ("ask_video", {"video": "/etc/passwd", "question": "?"}, "there is no file /etc/passwd"),
        ("ask_video", {"video": "move.mp4", "question": " "}, "a question is empty"),
        ("ask_video", {"video": "move.mp4", "question": "bug"}, "something went wrong"),
        ("ask_video", {**ABOUT, "method": "no"}, "there is no method"),
        ("ask_video", {**ABOUT, "choices": ["a"]}, "two options"),
        ("ask_video", {**ABOUT, "start": 5, "end": 2}, "end must be later than start ("),
        ("ask_video", {"video": "move.mp4"}, "question"),
        ("frames", {"video": "move.mp4", "begin": 3}, "no argument begin; it takes video, start"),
        ("frames", {"video": "move.mp4", "strat": 3}, "no argument strat; did you mean start?"),
        ("probe_video", {"video": "../pyproject.toml"}, "there is no file ../pyproject.toml"),
        ("frames", {"video": "move.mp4", "count": 99}, "less than or equal to 16"),
        ("frames", {"video": "move.mp4", "start": "x"}, "valid number"),
        ("frames", {"video": "move.mp4", "start": 1000}, "start 1000 s (16:40) lies beyond"),
        *(
            pytest.param("ask_video", {**ABOUT, **more}, sentence, marks=NEEDS_LIBRARY)
            for more, sentence in (
                ({"schema": {"properties": {"tags": {"not": {}}}}}, "can't be followed: "),
                ({"schema": {"type": "object"}, "choices": ["a", "b"]}, "not both"),
                ({"schema": ["a"]}, "schema"),  # which the official package refuses by itself
            )
        ),
    ],
)
def test_an_error_is_a_sentence(
    pretended: tuple[VideoTools, Fake], tool: str, given: dict[str, Any], sentence: str
) -> None:
    result = called(pretended[0], tool, **given)
    assert result.is_error
    assert sentence in text_of(result)
    assert "bold" not in text_of(result)
    assert "schema" not in given or pretended[1].batches == []


def test_a_still_picture_has_no_ranges(pretended: tuple[VideoTools, Fake], tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    vars(pretended[0])["_roots"] = (tmp_path,)
    result = called(pretended[0], "when", video="one.png", question="?")
    assert result.is_error
    assert text_of(result) == "one.png is a still picture: when needs a video"


def test_a_question_that_is_given_up_ends_its_answer(pretended: tuple[VideoTools, Fake]) -> None:
    """The next question doesn't wait for the rest of it, which would take ten minutes."""
    tools, model = pretended
    model.pause_s = 0.3

    async def conversation(client: Client) -> None:
        scope = anyio.CancelScope()

        async def give_up(done: float, total: float | None, message: str | None) -> None:
            if message == "Generating":
                scope.cancel()

        given = {"video": "move.mp4", "question": " ".join(["word"] * 2000)}
        with scope:
            await client.call_tool("ask_video", given, progress_callback=give_up)
        assert scope.cancelled_caught
        given["question"] = "What?"
        with anyio.fail_after(120):
            assert not (await client.call_tool("ask_video", given)).is_error

    talk(tools, conversation)


def test_the_end_of_stdin_ends_no_request(
    pretended: tuple[VideoTools, Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a pipe: `printf … | dycoke mcp`. One that was given up is not waited for."""
    tools, model = pretended
    model.pause_s = 0.3
    asked = {"name": "ask_video", "arguments": {"video": "move.mp4", "question": "What happens?"}}
    start = {"protocolVersion": "2025-06-18", "capabilities": {}}
    sent: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize",
         "params": {**start, "clientInfo": {"name": "pipe", "version": "1"}}},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": asked},
        {"id": "three", "method": "tools/call", "params": asked},
        {"id": 4, "method": "tools/call", "params": asked},
        {"method": "notifications/cancelled", "params": {"requestId": 4}},
        {"id": 5, "method": "tools/list"},
    ]  # fmt: skip
    lines = "".join(f"{json.dumps({'jsonrpc': '2.0', **one})}\n" for one in sent)
    stdout = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stdout))
    make_mcp_server(tools, "sample_videos").run()
    replies = {one["id"]: one for one in map(json.loads, stdout.getvalue().splitlines())}
    assert replies.keys() == {1, 2, "three", 5}
    for name in (2, "three"):
        assert replies[name]["result"]["structuredContent"]["answer"] == "What happens? "


def test_probing(pretended: tuple[VideoTools, Fake]) -> None:
    result = called(pretended[0], "probe_video", video="move.mp4", end=2)
    found = json.loads(text_of(result))
    assert found == result.structured_content
    assert (found["width"], found["height"], found["codec"]) == (256, 256, "h264")
    assert len(found["frames_read_at_s"]) == 8
    assert max(found["frames_read_at_s"]) < 2
    assert not pretended[1].batches


def test_a_few_frames_are_the_pictures_of_the_video(pretended: tuple[VideoTools, Fake]) -> None:
    """Against frames that PyAV decodes here."""
    import av
    import numpy as np

    with av.open(str(MOVE)) as file:
        decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        rate = file.streams.video[0].average_rate
    result = called(pretended[0], "frames", video="move.mp4", count=3)
    times, pictures = result.content[::2], result.content[1::2]
    assert len(times) == len(pictures) == 3
    for time, picture in zip(times, pictures, strict=True):
        assert picture.mime_type == "image/jpeg"
        shown = np.asarray(Image.open(io.BytesIO(b64decode(picture.data))), dtype=float)
        number = round(float(time.text.removesuffix(" s")) * float(rate or 1))
        assert np.abs(shown - decoded[number]).mean() < 8


def test_progress_grows_over_the_stages() -> None:
    steps = [progress_of(stage, done, 4) for stage in STAGES for done in range(5)]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, 1)


@pytest.mark.extended
def test_over_stdin_and_stdout(tmp_path: Path) -> None:
    """The command of the page, and the answer that `dycoke ask` has."""
    [command], [settings] = blocks("sh mcp", PAGE), blocks("json mcp", PAGE)
    assert json.loads(settings)["mcpServers"]["dycoke"]["args"][0] == "mcp"
    question = "What does the blue star do?"
    environment = {
        **os.environ,
        "DYCOKE_CACHE": str(tmp_path),
        "DYCOKE_RUNTIME": str(tmp_path / "run"),
    }
    program = [sys.executable, "-m", "dycoke_cli"]
    asking = [*program, "ask", str(MOVE), question, "--no-server", "--quiet"]
    expected = warm.run(asking, cwd=ROOT, env=environment, capture_output=True, check=True).stdout
    seeking = [*program, "ask", str(VIDEOS / "vanish.mp4"), "Is there a purple cross?", "--when"]
    seeking += ["--no-server", "--quiet"]
    when = warm.run(seeking, cwd=ROOT, env=environment, capture_output=True, check=True).stdout
    started, *arguments = [*program, *command.split()[1:]]
    server = StdioServerParameters(command=started, args=arguments, env=environment, cwd=str(ROOT))

    async def talking() -> None:
        # By default stderr of when the package was imported, which a worker of tests closed.
        async with Client(stdio_client(server, errlog=sys.stderr)) as client:
            given = {"video": "move.mp4", "question": question}
            for _ in range(2):
                result = await client.call_tool("ask_video", given)
                assert text_of(result) == expected.decode().strip()
            outside = {**given, "video": str(ROOT / "README.md")}
            refused = await client.call_tool("ask_video", outside)
            assert refused.is_error
            typed = {**given, "question": "Is there a star?", "choices": ["yes", "no"]}
            found = (await client.call_tool("ask_video", typed)).structured_content
            seen = {"video": "vanish.mp4", "question": "Is there a purple cross?"}
            ranges = (await client.call_tool("when", seen)).structured_content
            assert ranges["answer"] == when.decode().splitlines()[0].split(" (")[0]
            assert sum(found["probabilities"].values()) == pytest.approx(1)

    anyio.run(talking)
