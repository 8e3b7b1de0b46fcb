"""What people and other runs write while a command works stays; the engine only pretends."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from dycoke_cli.errors import OutputError
from dycoke_cli.storage.made_files import check_replaceable, write_made
from tests.cli.harness import CLIP, run_here
from tests.runs.pretended import Pretended, make_clips

MINI = ("--model", "mini", "--device", "cpu", "--no-server")
MINE = "my own words\n"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    return make_clips(tmp_path / "clips", "1.mp4", "2.mp4", "3.mp4")


@pytest.mark.parametrize("flags", [(), ("--overwrite",), ("--overwrite-edited",)])
def test_captions_that_were_written_meanwhile(
    clips: Path, engine: Pretended, flags: tuple[str, ...]
) -> None:
    if flags:
        assert run_here("caption", clips, *MINI, "--prompt", "What is first?").code == 0
        engine.asked.clear()
    engine.meanwhile = lambda: (clips / "2.txt").write_text(MINE)
    run = run_here("caption", clips, *MINI, "--prompt", "What happens?", *flags)
    told = "2.txt has another caption of"
    if flags == ("--overwrite-edited",):
        assert (run.code, told in run.err) == (0, False)
        assert (clips / "2.txt").read_text() != MINE
        return
    assert (run.code, run.err.count(told)) == (1, 1)
    assert "2 captions written" in run.err
    assert "1 failed" in run.err
    texts = [(clips / name).read_text() for name in ("1.txt", "2.txt", "3.txt")]
    assert texts == ["What happens? indeed\n", MINE, "What happens? indeed\n"]


def test_of_two_runs_the_first_caption_counts(clips: Path, engine: Pretended) -> None:
    def other() -> None:
        engine.meanwhile = lambda: None
        engine.asked.append(("", ""))
        others = (clips / "2.mp4", clips / "3.mp4")
        assert run_here("caption", *others, *MINI, "--prompt", "What is first?").code == 0

    engine.meanwhile = other
    run = run_here("caption", clips, *MINI, "--prompt", "What happens?")
    assert (run.code, run.err.count("has another caption of")) == (1, 2)
    said = [(clips / f"{number}.txt").read_text() for number in (1, 2, 3)]
    assert said == ["What happens? indeed\n", *["What is first? indeed\n"] * 2]


def test_a_file_of_captions_that_was_written_meanwhile(clips: Path, engine: Pretended) -> None:
    out = clips / "captions.jsonl"
    engine.meanwhile = lambda: out.write_text(MINE)
    run = run_here("caption", clips, *MINI, "--prompt", "What?", "--out", out)
    assert (run.code, out.read_text()) == (6, MINE)
    assert f"{out}: written by another program meanwhile, and stays as it is" in run.err
    assert {path.read_text() for path in clips.glob("*.txt")} == {"What? indeed\n"}


@pytest.mark.parametrize(
    "words", [("batch", "What?", "--out", "a.jsonl"), ("caption", "--prompt", "What?")]
)
def test_a_clip_that_is_written_while_it_is_read(
    clips: Path, engine: Pretended, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clips)
    command = (words[0], clips, *words[1:], *MINI)
    engine.meanwhile = lambda: (
        (clips / "1.mp4").write_bytes(b"more of it"),
        (clips / "3.mp4").unlink(),
    )
    run = run_here(*command)
    assert (run.code, run.err.count("1.mp4 was written while it was read: run")) == (1, 1)
    engine.asked.clear()
    engine.meanwhile = lambda: None
    assert run_here(*command).code == 0
    assert [place for place, _ in engine.asked] == ["1.mp4"]


@pytest.mark.parametrize("out", [".srt", "answers.csv"])
def test_files_of_a_batch(clips: Path, engine: Pretended, out: str) -> None:
    for clip in clips.iterdir():
        shutil.copy(CLIP, clip)
    path = clips / ("2.srt" if out == ".srt" else out)
    engine.meanwhile = lambda: path.write_text(MINE)
    where = (out, "--out-dir", clips) if out == ".srt" else (path,)
    words = ("batch", clips, "What?", *MINI, "--every", "2s", "--out", *where)
    run = run_here(*words)
    assert run.code == 6
    assert run.err.count(f"{path}: written by another program meanwhile, and stays") == 1
    assert path.read_text() == MINE
    assert len([*clips.glob("*.srt")]) == (3 if out == ".srt" else 0)
    path.unlink()  # as the error says; nothing is asked again
    asked = len(engine.asked)
    assert (run_here(*words).code, len(engine.asked), path.exists()) == (0, asked, True)


def test_a_file_is_replaced_only_where_it_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert write_made(path, b"one")
    assert write_made(path, b"two")
    check_replaceable(path)
    path.write_bytes(b"mine")
    assert not write_made(path, b"three")
    with pytest.raises(OutputError, match="was changed since it was written"):
        check_replaceable(path)
    assert path.read_bytes() == b"mine"


def test_of_writers_that_race_one_writes(tmp_path: Path) -> None:
    for number in range(50):
        path, start, written = tmp_path / str(number), threading.Barrier(4), list[bytes]()

        def write(content: bytes, path=path, start=start, written=written) -> None:
            start.wait()
            if write_made(path, content, is_ours=lambda there: False):
                written.append(content)

        racers = [threading.Thread(target=write, args=(b"%d" % i,)) for i in range(4)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert written == [path.read_bytes()]
