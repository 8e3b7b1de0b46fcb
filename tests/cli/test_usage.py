"""What is out of range or contradicts itself is refused with exit code 2, before anything runs."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dycoke_cli.loop import unloaded_model
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, run_here
from tests.documents import valid

CASES = [
    (["--method", "fastv", "--recall"], r"--method fastv has no --recall"),
    (
        ["--draw-seed", "1"],
        r"--draw-seed; give it with the method: --method random:draw_seed=…",
    ),
    (
        ["--method", "dycoke", "--retain", "0.5"],
        r"dycoke has no --retain; dycoke-plus has it",
    ),
    (["--method", "fastv", "--merge-ratio", "0.5"], r"--method fastv has no --merge-ratio"),
    (["--method", "none", "--compare"], r"--compare compares with --method none"),
    (
        ["--method", "dycoke:merge_ratio=0.5", "--merge-ratio", "0.7"],
        r"--merge-ratio 0.7 contradicts --method dycoke:merge_ratio=0.5; give one of them",
    ),
    (["--method", "ttm", "--kv-prune"], r"--kv-prune contradicts --method ttm"),
    (["--method", "dycoke:recall=true", "--no-recall"], r"--no-recall contradicts --method dyco"),
    (["--method", "dycoke,evs"], r"--method takes one method, not dycoke,evs"),
    (["--frames", "8", "--fps", "1"], r"--frames and --fps exclude each other"),
    (["--max-frames", "4"], r"--max-frames limits --fps"),
    (["--start", "2", "--end", "1"], r"--end must be later than --start"),
    (["--device-map", "auto", "--device", "cpu"], r"--device-map auto chooses the devices itself"),
    (["--quantize", "int8", "--device", "mps"], r"--quantize works on CUDA and on a CPU, not on"),
    (["--random-weights", "--device-map", "auto"], r"--random-weights builds .* drop --device-map"),
    (["--random-weights"], r"--random-weights knows the configurations of .*; not of 'mini'"),
    (["-q", "-"], r"no question came from stdin"),
    (["--prefix"], r"there is no flag --prefix \(see `dycoke ask --help`\)$"),
]


@pytest.mark.parametrize(("flags", "sentence"), CASES)
def test_refused_with_the_allowed_range(fake: Fake, flags: list[str], sentence: str) -> None:
    run = run_here("ask", CLIP, "What?", *flags, "--json")
    assert run.code == 2
    assert re.fullmatch(rf"Error: .*{sentence}.*\n", run.err)
    document = run.objects[0]
    assert document["schema"] == "dycoke.answer/1"
    assert document["error"]["code"] == "usage"
    assert re.search(sentence, document["error"]["message"])
    assert "answer" not in document
    assert fake == []


# By its stored configuration, before anything is loaded; and by the model, once it is.
@pytest.mark.parametrize(("layer", "layers"), [("100", 10), ("6", 6), ("7", 6)])
def test_layer_that_the_model_has_not(fake: Fake, layer: str, layers: int) -> None:
    fake.info = replace(fake.info, layers=layers)
    run = run_here("ask", CLIP, "What?", "--prune-layer", layer)
    assert (run.code, run.out) == (2, "")
    assert run.err == (
        f"Error: --prune-layer must be from 1 to {layers - 1} for mini, which has {layers} layers, "
        f"not {layer}\n"
    )


def test_what_was_meant_is_asked(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "-dash.mp4", "my clip.mp4"):
        (tmp_path / name).write_bytes(CLIP.read_bytes())
    for words in (
        ["ask", "a.mp4", "What", "moves?"],
        ["ask", "What", "moves?", "a.mp4"],
        ["ask", "What moves?", "a.mp4"],
        ["a.mp4", "What", "moves?"],
        ["What moves?", "a.mp4"],
        ["ask", "my clip.mp4", "What", "moves?"],
        ["my clip.mp4", "What moves?"],
        ["ask", "-dash.mp4", "What moves?"],
        ["-dash.mp4", "-q", "What moves?"],
    ):
        run = run_here(*words, "--quiet", "--json")
        (video,) = (word for word in words if word.endswith("mp4"))
        assert (run.code, run.object["question"]) == (0, "What moves?")
        assert run.object["video"] == (f"./{video}" if video.startswith("-") else video)


def test_one_question_about_several_videos(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unloaded_model, "is_here", lambda source: True)
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(CLIP.read_bytes())
    flags = ("--model", "qwen2.5-vl-3b", "--frames", "3", "--merge-ratio", "0.5")
    run = run_here("ask", "a.mp4", "b.mp4", "Which is faster?", *flags, "--compare", "--json")
    note = (
        'Asking about 2 videos together; `dycoke batch a.mp4 b.mp4 "Which is faster?"` asks about '
        "each\n"
    )
    assert (run.code, run.err) == (0, note)
    answer = valid(run.object, "answer")
    assert [len(clip.frames) for clip in fake[-2].clips] == [3, 3]
    for document in (answer, answer["compared_to"]):
        assert (document["video"], document["question"]) == ("a.mp4", "Which is faster?")
        assert [one["video"] for one in document["videos"]] == ["a.mp4", "b.mp4"]
        assert document["frames"]["count"] == sum(
            one["frames"]["count"] for one in document["videos"]
        )
        assert (
            document["frames"]["timestamps_s"]
            == 2 * document["videos"][0]["frames"]["timestamps_s"]
        )
    text = run_here("a.mp4", "b.mp4", "Which", "is", "faster?", *flags)
    assert text.code == 0
    assert text.err.startswith(note)
    assert run_here("ask", "a.mp4", "b.mp4", "Which?", *flags, "--quiet").err == ""
    assert "b2.mp4 doesn't exist" in run_here("ask", "a.mp4", "b2.mp4", "Which?", *flags).err


def test_what_ask_cannot_do_names_the_command(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("footage/a.mp4", "footage/b.mp4", "one/it's.mp4", "one/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    question = "What is $5?"
    for words, sentence in {
        ("footage", question): (
            "footage is a folder: `dycoke batch footage 'What is $5?'` asks about each video in it"
        ),
        ("footage", "-q", "Who is it?", "-q", "Why?"): (
            'footage is a folder: `dycoke batch footage -q "Who is it?" -q "Why?"` asks about each '
            "video in it"
        ),
        ("footage",): (
            'footage is a folder: `dycoke batch footage "…"` asks about each video in it'
        ),
        ("one", "Who is it?"): (
            'one is a folder; about the one video in it: `dycoke ask "one/it\'s.mp4" "Who is it?"`'
        ),
        ("footage/*", "Who", "is", "it"): (
            '"footage/*" is a pattern: `dycoke batch "footage/*" "Who is it"` asks about each '
            "video that it matches"
        ),
        ("a.mp4", "footage", "Who is it?"): (
            'footage is a folder: `dycoke batch a.mp4 footage "Who is it?"` asks about each video '
            "in it"
        ),
        ("a.mp4", "footage/b.mp4", "Who is it?", "--estimate"): "--estimate takes one video",
        ("a.mp4", "footage/b.mp4", "Why?", "--subtitles", "auto"): "--subtitles takes one video",
        ("a.mp4", "footage/b.mp4"): (
            'no question: put one behind the video, as in `dycoke ask VIDEO "…"`'
        ),
        ("a.mp4", "-", "Who is it?", "-q", "-"): (
            "stdin can be read for one thing only: the video, or -q - once"
        ),
        (str(CLIP), str(CLIP), "Who is it?"): (
            "mini is shown one video at a time; `dycoke batch` asks about each"
        ),
        ("Who is it?",): 'no video: name one, as in `dycoke ask VIDEO "Who is it?"`',
        ("a.mp4", "Who is it?", "Where is it?"): (
            'ask several questions with -q: -q "Who is it?" -q "Where is it?"'
        ),
        ("a.mp4", "Who", "is", "in", "footage/a.mp4"): (
            "the question can't be told from the videos in a.mp4 Who is in footage/a.mp4: put it "
            "in quotes"
        ),
    }.items():
        first = [] if os.path.splitext(words[0])[1] or os.path.isdir(words[0]) else ["ask"]
        for command in (["ask"], first):
            run = run_here(*command, *words)
            assert (run.code, run.out, run.err) == (2, "", f"Error: {sentence}\n")
    assert fake == []


@pytest.mark.parametrize(
    ("words", "page"),
    [
        (["help"], "dycoke [OPTIONS] COMMAND"),
        (["help", "ask"], "dycoke ask"),
        (["ask", "help"], "dycoke ask"),
        (["help", "models", "pull"], "dycoke models pull"),
        (["models", "help"], "dycoke models"),
        (["help", "eval", "report"], "dycoke eval report"),
    ],
)
def test_help_is_a_word_too(words: list[str], page: str) -> None:
    run = run_here(*words)
    assert (run.code, run.err) == (0, "")
    assert run.out.startswith(f"Usage: {page}")


def test_help_may_be_a_file(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "help").write_bytes(CLIP.read_bytes())
    assert run_here("help", "What?", "--quiet").code == 0
    assert run_here("ask", "help").err.startswith("Error: no question")


def test_a_video_in_place_of_a_command_is_asked_about(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = run_here("ask", CLIP, "What?", "--quiet", "--max-tokens", "2")
    assert run_here(CLIP, "What?", "--quiet", "--max-tokens", "2") == long
    assert run_here("-", "What?", "--quiet", stdin=CLIP.read_bytes()).out != ""
    # A file whose name is no more than a word; one that is called as a command is none.
    for name in ("clip", "demo"):
        (tmp_path / name).write_bytes(CLIP.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert run_here("clip", "What?", "--quiet").code == 0
    assert "there is no place for 'What?'" in run_here("demo", "What?").err


def test_the_short_form_fails_as_the_long_one_does(fake: Fake) -> None:
    """Also where a word behind it is the name of another command."""
    for words in ([], ["ask"]):
        run = run_here(*words, CLIP, "models", "--no-such-flag", "--json")
        assert run.object["schema"] == "dycoke.answer/1"
