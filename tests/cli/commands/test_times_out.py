"""`--out` of batch, and convert: times of answers as files for editors and players."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dycoke_cli.runs import output_formats
from dycoke_cli.runs.time_files import LIST
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import CLIP, ROOT, run_here
from tests.pages import commands
from tests.runs.pretended import Pretended

MINI = ("--model", "mini", "--device", "cpu")
# The clip is 4 s long and has 12 frames per second.
SRT = """1
00:00:00,000 --> 00:00:04,000
a red circle moves right
"""


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # where answers are kept without --out-dir
    folder = tmp_path / "clips"
    (folder / "sub").mkdir(parents=True)
    for name in ("1.mp4", "sub/2.mp4", "bad.mp4"):
        shutil.copy(CLIP, folder / name)
    return folder


def batch(clips: Path, *flags: str | Path) -> tuple[int, str]:
    where = ("--model", "mini", "--device", "cpu")
    run = run_here("batch", clips, "What?", "-q", "Why?", "--every", "2s", *where, *flags)
    return run.code, run.err


def test_batch_resumes_and_has_the_times_of_all(clips: Path, engine: Pretended) -> None:
    out = clips.parent / "times.markers.csv"
    code, err = batch(clips, "--out", out)
    assert code == 1  # bad.mp4 can't be read
    assert err.splitlines()[-2:] == [
        f"Results: {clips.parent / 'times.jsonl'}",
        f"4 time ranges in {out}",
    ]
    whole, journal = out.read_text(), clips.parent / "times.jsonl"
    assert [line.split(",")[1:4] for line in whole.splitlines()[1:]] == 2 * [
        ["0.0", "4.0", "What?"],
        ["0.0", "4.0", "Why?"],
    ]
    content, asked = journal.read_bytes(), len(engine.asked)
    assert batch(clips, "--out", out)[1].startswith("12 questions about 3 clips, 8 done already")
    assert len(engine.asked) == asked
    # Killed at any moment: nothing is lost, and nothing is there twice.
    for cut in range(0, len(content), len(content) // 9):
        journal.write_bytes(content[:cut])
        if cut % 2:
            out.unlink()
        assert batch(clips, "--out", out)[0] == 1
        assert out.read_text() == whole
        assert sorted(journal.read_bytes().splitlines()) == sorted(content.splitlines())
    out.write_text(whole.replace("What", "That"))
    asked = len(engine.asked)
    code, err = batch(clips, "--out", out)
    assert code == 6
    assert "times.markers.csv exists, or was changed since it was written" in err
    assert len(engine.asked) == asked


@pytest.mark.usefixtures("engine")
def test_times_of_an_earlier_run_that_go_are_told(clips: Path) -> None:
    out = clips.parent / "times.markers.csv"
    nothing = "Nothing was found: no times are written"
    assert batch(clips / "bad.mp4", "--out", out)[1].splitlines()[-1] == nothing
    batch(clips, "--out", out)
    told = batch(clips / "bad.mp4", "--out", out)[1].splitlines()[-1]
    assert told == f"{nothing}; 1 of an earlier run, now without a range, removed"
    assert not out.exists()


def test_batch_has_a_file_for_each_clip(clips: Path, engine: Pretended) -> None:
    folder = clips.parent / "made" / "here"
    assert batch(clips, "--out", ".vtt", "--out-dir", folder)[0] == 1
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert found == ["1.vtt", "answers.jsonl", "sub/2.vtt"]
    # The clip's own subtitles aren't replaced, and nothing is asked.
    (clips / "1.srt").write_text("mine")
    asked = len(engine.asked)
    code, err = batch(clips, "--out", ".srt")
    assert code == 6
    assert "1.srt exists, or was changed" in err
    assert ((clips / "1.srt").read_text(), len(engine.asked)) == ("mine", asked)


def test_files_of_an_earlier_run_are_no_subtitles(clips: Path, engine: Pretended) -> None:
    flags = ("--subtitles", "auto", "--out")
    assert batch(clips, *flags, ".srt")[0] == 1
    asked = len(engine.asked)
    assert batch(clips, *flags, ".srt")[0] == 1  # the broken clip's failure stands
    assert len(engine.asked) == asked
    (clips / "1.srt").write_text(SRT)
    assert batch(clips, *flags, clips.parent / "answers.jsonl")[0] == 1
    assert {name for name, _ in engine.asked[asked:]} == {"1.mp4"}


def test_convert_writes_what_batch_does(clips: Path, engine: Pretended) -> None:
    lines = clips.parent / "lines.jsonl"
    batch(clips, "--out", lines)
    for suffix in output_formats.TIMES:
        of_batch, of_convert = clips.parent / "of_batch", clips.parent / "of_convert"
        if suffix == LIST:
            of_batch, of_convert = (
                path.with_name(path.name + suffix) for path in (of_batch, of_convert)
            )
            batch(clips, "--out", of_batch)
            run = run_here("convert", lines, of_convert)
            assert of_batch.read_text() == of_convert.read_text()
        else:
            batch(clips, "--out", suffix, "--out-dir", of_batch / suffix.replace(".", "-"))
            run = run_here("convert", lines, suffix)
            made = (of_batch / suffix.replace(".", "-") / "sub" / "2").with_suffix(suffix)
            assert made.read_text() == (clips / "sub" / "2").with_suffix(suffix).read_text()
        assert run.code == 0
        assert run.err.startswith("4 time ranges in ")
        again = run_here("convert", lines, of_convert if suffix == LIST else suffix)
        assert again.code == 6


def test_a_suffix_is_refused_alike(clips: Path, engine: Pretended) -> None:
    lines = clips.parent / "lines.jsonl"
    batch(clips, "--out", lines)
    asked = len(engine.asked)
    for name in ("x.xlsx", "x.txt", "x", "x.srt", "x.vtt"):
        path = clips.parent / name
        code, err = batch(clips, "--out", path)
        run = run_here("convert", lines, path)
        assert (code, run.code) == (2, 2), name
        assert not path.exists()
        if name in ("x.srt", "x.vtt"):
            suffix = name[1:]
            assert f"is about one clip, and there are 3: --out {suffix} writes a file for" in err
            assert f"FILE {suffix} writes a file for each" in run.err
        else:
            assert ".srt, .vtt or .markers.csv" in err
            assert ".srt, .vtt or .markers.csv" in run.err
    assert len(engine.asked) == asked


def test_answers_about_whole_videos_have_no_times(clips: Path, engine: Pretended) -> None:
    lines = clips.parent / "lines.jsonl"
    run_here("batch", clips, "What?", "--model", "mini", "--out", lines)
    run = run_here("convert", lines, clips.parent / "x.markers.csv")
    assert (run.code, run.err.count("x.markers.csv is for times, and these answers have none")) == (
        2,
        1,
    )
    asked = len(engine.asked)
    run = run_here(
        "batch", clips, "What?", "--model", "mini", "--out", clips.parent / "x.markers.csv"
    )
    assert (run.code, run.err.count("is for times")) == (2, 1)
    assert len(engine.asked) == asked


def test_clips_of_one_name_have_one_file(clips: Path, engine: Pretended) -> None:
    shutil.copy(CLIP, clips / "1.mkv")
    code, err = batch(clips, "--out", ".srt")
    assert code == 2
    assert "have one file" in err


def test_out_dir_is_for_a_file_for_each_clip(clips: Path, engine: Pretended) -> None:
    folder = clips.parent / "folder"
    assert batch(clips / "none", "--out", ".srt", "--out-dir", folder)[0] != 0
    assert not folder.exists()
    for out, says in ((["x.vtt"], "is for"), (["x.jsonl"], "is for"), ([], "needs --out")):
        code, err = batch(clips, *(f"--out={one}" for one in out), "--out-dir", folder)
        assert (code, err.count(f"--out-dir {says}")) == (2, 1)
        assert not folder.exists()


PAGE = (ROOT / "docs" / "times.md").read_text("utf-8")
TIMES, FFMPEG = (
    [*commands(block)]
    for block in re.findall(r"^(```sh (?:times|ffmpeg)\n.*?^```)", PAGE, re.MULTILINE | re.DOTALL)
)


@pytest.mark.extended
def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample_videos").symlink_to(ROOT / "sample_videos")
    for words in TIMES:
        run = run_here(*words[1:], "--quiet", *([] if words[1] == "convert" else MINI))
        assert run.code == 0, words
    assert "Is there a purple cross?" in (tmp_path / "cross.vtt").read_text()
    [row] = csv.DictReader((tmp_path / "crosses.markers.csv").open(encoding="utf-8"))
    assert (row["video"], row["start"], row["end"]) == ("sample_videos/vanish.mp4", "4.0", "8.0")
    assert [path.name for path in (tmp_path / "subtitles").glob("*.srt")] == ["vanish.srt"]
    if (ffmpeg := shutil.which("ffmpeg")) is None:
        pytest.skip("there is no ffmpeg here, so that its two commands weren't run")
    for words in FFMPEG:
        subprocess.run([ffmpeg, "-loglevel", "error", *words[1:]], check=True)
    at_5_s = Sampling(frames=1, start_s=5.0, end_s=5.2)
    burnt, plain = (read(name, at_5_s).frames for name in ("burnt.mp4", "sample_videos/vanish.mp4"))
    # Letters are white; nothing else changes as much.
    assert np.abs(burnt.astype(int) - plain.astype(int)).max() > 100
