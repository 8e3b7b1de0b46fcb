"""What a command and the server send each other: paths, what must agree, and their words."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from dycoke_cli.answer.answer import Answer, ReportedSubtitles
from dycoke_cli.ask import Answered, Ask, Failed, Footage, Warn
from dycoke_cli.compression.registry import create, described
from dycoke_cli.engine.generation_options import GenerationOptions, TypedOptions
from dycoke_cli.errors import VideoError
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.server.local.local_server import why_not
from dycoke_cli.server.local.wire import CommandSetup, as_sent, in_the_words_of, model_key
from dycoke_cli.video.files import STDIN_NAME
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.subtitles import SubtitleSource
from tests.documents import example
from tests.server.pretended import DEFAULTS

ASKED = replace(
    DEFAULTS,
    sampling=Sampling(frames=5, start_s=1.5),
    method=create("dycoke", prune_ratio=0.5),
    generation=GenerationOptions(max_tokens=7, typed=TypedOptions.yes_no()),
    limits=Limits(time_limit=9.0),
    subtitles="a.srt",
    cautions=("take care",),
    video_tokens=60,
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


def test_a_question_is_sent_as_it_is_but_for_its_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    got: Ask = pickle.loads(pickle.dumps(as_sent(ASK, no_stdin)))
    assert replace(got, videos=ASK.videos) == ASK
    videos = [replace(one, identity=None) for one in got.videos]
    lines = SubtitleSource("/a.srt")
    assert videos == [
        replace(SHOWN, source="/a.mp4", subtitles=lines),
        replace(SHOWN, source=("/b.png", "/c.png"), subtitles=lines),
    ]


def test_a_video_of_stdin_is_a_file_of_its_name() -> None:
    ask = Ask("What?", DEFAULTS, (Footage("-", "-"),))
    [video] = as_sent(ask, lambda: "/tmp/private/stdin").videos
    assert (video.source, video.name, video.shown_as) == ("/tmp/private/stdin", "-", STDIN_NAME)


def test_paths_are_those_that_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = f"{tmp_path}/a.mp4 is short; {tmp_path}/a.srt too"
    short = "a.mp4 is short; a.srt too"
    ask = replace(ASK, videos=(replace(SHOWN, shown_as=None),))
    assert in_the_words_of(ask, Warn(said)) == Warn(short)
    failed = in_the_words_of(ask, Failed(VideoError(said)))
    assert (type(failed.error), str(failed.error)) == (VideoError, short)
    answer = example(
        Answer, answer=said, warnings=(said,), subtitles=ReportedSubtitles(f"{tmp_path}/a.srt", 1)
    )
    named = in_the_words_of(ask, Answered(replace(answer, compared_to=answer)))
    assert (named.answer.answer, named.answer.warnings) == (said, (short,))
    assert named.answer.subtitles == ReportedSubtitles("a.srt", 1)
    assert named.answer.compared_to.warnings == (short,)


def test_what_this_process_would_answer_otherwise_is_refused(tmp_path: Path) -> None:
    setup = CommandSetup.of(ASKED, False, False, None)
    engine = Engine(DEFAULTS)
    assert why_not(setup, DEFAULTS, engine) == ""

    def asked(**changed: object) -> CommandSetup:
        return replace(setup, request=replace(ASKED, **changed))  # type: ignore[arg-type]

    assert "it has the model mini" in why_not(asked(model="other"), DEFAULTS, engine)
    loading = replace(DEFAULTS.loading, dtype="float32")
    assert "with other flags" in why_not(asked(loading=loading), DEFAULTS, engine)
    # The dtype that was chosen may be named as well.
    engine.loading = loading
    assert why_not(asked(loading=loading), DEFAULTS, engine) == ""
    changed = described(ASKED.method) | {"plugin": "other code"}
    assert "a plug-in has changed" in why_not(replace(setup, method=changed), DEFAULTS, engine)
    elsewhere = replace(setup, cache=str(tmp_path / "elsewhere"))
    assert "another cache folder" in why_not(elsewhere, DEFAULTS, engine)
    assert "with other flags" in why_not(setup, replace(DEFAULTS, loading=loading), engine)


def test_a_folder_is_the_same_model_by_any_path(tmp_path: Path) -> None:
    folder, link = tmp_path / "model", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    assert model_key(str(link)) == model_key(f"{tmp_path}/./model") == str(folder.resolve())
    assert model_key("mini") == "mini"
