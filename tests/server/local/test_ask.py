"""A running server answers `dycoke ask`: the words, objects, sentences and codes of the command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.server.local import wire
from tests.cli.harness import CLIP, Outcome, run_here
from tests.server.local.conftest import Served

pytestmark = pytest.mark.usefixtures("fake_model")


def ask(*arguments: str | Path) -> Outcome:
    return run_here("ask", CLIP, "What?", "--frames", "2", *arguments)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k != "seconds"}
    return [*map(without_times, value)] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "flags",
    [
        ("-q", "Why?", "--follow-up"),
        ("--compare", "--method", "dycoke:merge_ratio=0.5,window=2"),
        ("--stats", "--max-new-tokens", "2"),
        ("--end", "1", "--fps", "4"),
        ("--start", "99"),
        ("--memory-limit", "1MB"),
        ("--prune-layer", "77"),
    ],
    ids=" ".join,
)
def test_words_objects_and_codes_are_those_of_the_command(
    local: Served, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MEMORY_WARNING", "there is little memory")
    monkeypatch.setenv("COLUMNS", "200")  # a time of more digits would break lines elsewhere
    served = ask(*flags)
    assert (served.code == 0) == (not served.code and local.has_answered())
    alone = ask(*flags, "--no-server")
    assert (served.code, served.out) == (alone.code, alone.out)
    # The longest time makes the width of a column.
    lines = [
        [re.sub(r"[─━\s]+", " ", x) for x in run.err.splitlines() if " s" not in x]
        for run in (served, alone)
    ]
    assert lines[0] == lines[1]
    objects = [
        without_times(ask(*flags, "--json", *more).objects) for more in ((), ("--no-server",))
    ]
    assert objects[0] == objects[1]


def test_the_command_reads_no_video(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError("the server reads the video")

    monkeypatch.setattr("dycoke_cli.video.decoder.Decoder", unwanted)
    assert ask().code == 0
    assert local.has_answered()
    assert ask("--no-server").code == 1


def test_names_of_files_are_shown_as_they_were_given(
    local: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.mp4").write_bytes(CLIP.read_bytes())
    assert run_here("ask", "here.mp4", "What?", "--json").object["video"] == "here.mp4"
    assert local.has_answered()
    run = run_here("ask", "nofile.mp4", "What?")
    assert (run.code, run.err.splitlines()[-1]) == (
        3,
        "Error: nofile.mp4 doesn't exist: check the spelling and the folder",
    )
    run = run_here("ask", "here.mp4", "What?", "--subtitles", "no.srt")
    assert str(tmp_path) not in run.err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--dtype", "float32"), "it has loaded mini with other flags"),
        (("--model", "llava-onevision-0.5b", "--random-weights"), "it has the model mini"),
    ],
)
def test_what_cannot_be_served_says_so_once_and_runs_in_the_command(
    local: Served, flags: tuple[str, ...], reason: str
) -> None:
    run = ask("-q", "Why?", *flags)
    assert run.code == 0, run.err
    assert run.err.count(f"Asking without your server: {reason}") == 1
    assert not local.has_answered()
    assert "Asking" not in ask(*flags, "--quiet").err


def test_a_video_that_only_the_command_can_read(local: Served, tmp_path: Path) -> None:
    run = run_here("ask", "-", "What?", stdin=CLIP.read_bytes())
    assert run.code == 0
    assert "the video comes from stdin" in run.err
    named = tmp_path / "\udcff.mp4"
    named.write_bytes(CLIP.read_bytes())
    run = run_here("ask", named, "What?")
    assert run.code == 0
    assert "the name of a file isn't valid UTF-8" in run.err


def test_another_version(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "code", lambda: "0.0.1 /elsewhere ")
    run = ask()
    assert run.code == 0
    assert "it runs another version of dycoke" in run.err
    assert not local.has_answered()
