"""What a command and the server send each other is read as it was sent, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.answer.answer import Answer, ReportedSubtitles, Tuned
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.ask import Answered, Ask, Event, Failed, Footage, Note, Progress, Seen, Text, Warn
from dycoke_cli.compression.registry import create, described
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.typed_options import OpenNumber, TypedOptions
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.guard.ladder import Guard
from dycoke_cli.loop.pending import FORGOTTEN, CancelledError
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.server.local.local_routes import matched
from dycoke_cli.server.local.wire import (
    ask_of_json,
    ask_to_json,
    code,
    event_of_json,
    event_to_json,
    in_the_words_of,
    line_of,
    model_key,
    setup_of,
)
from dycoke_cli.server.refused import Refused
from dycoke_cli.video.file_names import STDIN_NAME
from dycoke_cli.video.info import VideoInfo
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.subtitles import SubtitleSource
from tests.documents import example

DEFAULTS = Request("mini", LoadOptions(), Sampling(frames=8), create("none"), GenerationOptions())
ASKED = replace(
    DEFAULTS,
    sampling=Sampling(frames=5, start_s=1.5, audio_rate=16000),
    method=create("dycoke", prune_ratio=0.5),
    generation=GenerationOptions(max_new_tokens=7, typed=TypedOptions.yes_no()),
    limits=Limits(time_limit=9.0),
    subtitles="a.srt",
    tuned=Tuned(80, 240, "2026-01-31", 0.98, 0.99, (0.95, 1.0)),
    guard=Guard(0.05, False, 0.5, 80, ({"name": "random", "retain": 0.1},)),
    cautions=("take care",),
    max_tokens=60,
)
SHOWN = Footage(
    "a.mp4", "a.mp4", "a.mp4", "digest", SubtitleSource("a.srt"), Sampling(frames=2), "a.mp4"
)
ASK = Ask(
    "What?", ASKED, (SHOWN, replace(SHOWN, source=("b.png", "c.png"))), (("One?", "Two."),),
    compare=True, key="key", id="7", part_s=(None, 3.0), stamped=True,
)  # fmt: skip


def no_stdin() -> str:
    pytest.fail("nothing comes from stdin")


def sent(ask: Ask) -> Any:
    """What the server gets of a question."""
    return json.loads(line_of(ask_to_json(ask, no_stdin)))


@pytest.mark.parametrize(
    "ask",
    [
        ASK,
        Ask("What?", DEFAULTS),
        replace(ASK, request=replace(ASKED, generation=GenerationOptions(typed=OpenNumber()))),
        replace(ASK, videos=(replace(SHOWN, source="/\udcff.mp4", name="\udcff.mp4"),)),
    ],
    ids=["all", "plain", "number", "bytes"],
)
def test_a_question_is_read_as_it_was_sent(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    got = ask_of_json(sent(ask), replace(DEFAULTS, model="/its/model"))
    videos = tuple(
        replace(
            one,
            source=f"/{one.source}".replace("//", "/") if isinstance(one.source, str)
            else tuple(f"/{path}" for path in one.source),  # type: ignore[union-attr]
            subtitles=one.subtitles and replace(one.subtitles, path="/a.srt"),
        )
        for one in ask.videos
    )  # fmt: skip
    # The server's model; all else is the command's.
    request = replace(ask.request, model="/its/model")
    assert replace(got, videos=()) == replace(ask, videos=(), request=request)
    assert tuple(replace(one, identity=None) for one in got.videos) == videos


def test_everything_of_a_question_is_sent() -> None:
    """But what other ways of asking need: of an eval, of `/v1`, of bench, of a search of times, and
    the place of an answer in a table, which the command writes."""
    document = ask_to_json(ASK, no_stdin)
    [video, _] = document["videos"]
    assert {*vars(ASK)} - {*document} == {"blind", "when_s", "measured", "line"}
    assert {*vars(SHOWN)} - {*video} == {"edit", "identity", "pixels", "count"}
    assert {*vars(ASKED)} - {*document["request"]} == {"model", "loading"}


def test_a_video_of_stdin_is_a_file_of_its_name() -> None:
    ask = Ask("What?", DEFAULTS, (Footage("-", "-"),))
    document = ask_to_json(ask, lambda: "/tmp/private/stdin")
    [video] = ask_of_json(document, DEFAULTS).videos
    assert (video.source, video.name, video.shown_as) == ("/tmp/private/stdin", "-", STDIN_NAME)


def test_what_is_no_question() -> None:
    for changed in ({"more": 1}, {"videos": 7}, {"request": {}}):
        with pytest.raises(UsageError, match="doesn't understand the question"):
            ask_of_json({**sent(ASK), **changed}, DEFAULTS)


@pytest.mark.parametrize(
    "event",
    [
        Progress("vision", 3, 7),
        Note("a note"),
        Warn("a warning"),
        Text("a \ud83d word"),
        Seen((example(VideoInfo, path="a.mp4"),), ((0.0, 1.5),), (0.0, 2.0), 3),
        Seen((), (), None, None),
        Answered(example(Answer, answer="Yes.", warnings=("a",)), 1.5, 3),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_is_read_as_it_was_sent(event: Event) -> None:
    document = json.loads(line_of(event_to_json(7, event)))
    assert document["ask"] == 7
    assert event_of_json(document) == event


def test_an_error_has_its_kind_and_its_sentence() -> None:
    for error in (VideoError("it is broken"), UsageError("no such flag")):
        got = event_of_json(json.loads(line_of(event_to_json(1, Failed(error)))))
        assert isinstance(got, Failed)
        assert (type(got.error), str(got.error)) == (type(error), str(error))
    got = event_of_json(event_to_json(1, Failed(CancelledError(FORGOTTEN))))
    assert isinstance(got, Failed)
    assert isinstance(got.error, CancelledError)


@pytest.mark.parametrize(
    "forged",
    [
        {}, {"event": "more"}, {"event": ["text"]}, {"event": "text"}, {"event": "text", "text": 7},
        {"event": "progress", "stage": "load", "done": -1, "total": 2}, {"event": "done"},
        {"event": "progress", "stage": "load", "done": 10**400, "total": 2},
        {"event": "answered", "answer": {}}, {"event": "failed", "code": 1, "message": ""},
        {"event": "seen", "infos": [{}], "times_s": [], "part_s": None, "dropped": None},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_event(forged: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (of any kind)
        event_of_json(forged)


def test_paths_are_those_that_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = f"{tmp_path}/a.mp4 is short; {tmp_path}/a.srt too"
    short = "a.mp4 is short; a.srt too"
    ask = replace(ASK, videos=(replace(SHOWN, shown_as=None),))
    assert in_the_words_of(ask, Warn(said)) == Warn(short)
    failed = in_the_words_of(ask, Failed(VideoError(said)))
    assert isinstance(failed, Failed)
    assert (type(failed.error), str(failed.error)) == (VideoError, short)
    answer = example(
        Answer, answer=said, warnings=(said,), subtitles=ReportedSubtitles(f"{tmp_path}/a.srt", 1)
    )
    named = in_the_words_of(ask, Answered(replace(answer, compared_to=answer)))
    assert isinstance(named, Answered)
    assert (named.answer.answer, named.answer.warnings) == (said, (short,))
    assert named.answer.subtitles == ReportedSubtitles("a.srt", 1)
    assert isinstance(named.answer.compared_to, Answer)
    assert named.answer.compared_to.warnings == (short,)


def refused(document: Any, defaults: Request = DEFAULTS) -> str:
    with pytest.raises(Refused) as error:
        matched(document, defaults)
    assert error.value.status == 409
    return str(error.value)


def test_what_this_process_would_answer_otherwise_is_refused(tmp_path: Path) -> None:
    def setup(**changed: Any) -> Any:
        return to_dict(setup_of(ASKED)) | changed

    def asked(**changed: Any) -> Any:
        return setup(request=setup()["request"] | changed)

    assert matched(setup(), DEFAULTS).request.asked_of(DEFAULTS) == ASKED
    assert "another version" in refused(setup(code=f"{code()}x"))
    assert "another version" in refused(setup(code=None))
    assert "another version" in refused([])
    assert "doesn't understand" in refused(asked(sampling={"frames": "many"}))
    assert "doesn't understand" in refused(asked(method={"name": "nothing-like-it"}))
    assert "it has the model mini" in refused(setup(model="other"))
    loading = to_dict(replace(DEFAULTS.loading, dtype="float32"))
    assert "with other flags" in refused(setup(loading=loading))
    # The dtype that was chosen may be named as well.
    assert matched(setup(loading=loading), DEFAULTS, replace(DEFAULTS.loading, dtype="float32"))
    changed = described(ASKED.method) | {"more": 1}
    assert "a plug-in has changed" in refused(asked(method=changed))
    assert "another cache folder" in refused(setup(cache=str(tmp_path / "elsewhere")))
    with_flags = replace(DEFAULTS, loading=replace(DEFAULTS.loading, dtype="float32"))
    assert "with other flags" in refused(setup(), with_flags)


def test_a_folder_is_the_same_model_by_any_path(tmp_path: Path) -> None:
    folder, link = tmp_path / "model", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    assert model_key(str(link)) == model_key(f"{tmp_path}/./model") == str(folder.resolve())
    assert model_key("mini") == "mini"
