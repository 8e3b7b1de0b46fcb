"""Typical mistakes of a new user: a sentence names what is wrong, and its advice works as typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, run_here, understood

ASK = ("ask", "holiday.mp4", "What is it?")
BATCH = ("batch", "footage", "What is it?")
# What is typed, and what the sentence says beside the advice.
MISTAKES = {
    ("akk", *ASK[1:]): "there is no command and no file 'akk'",
    ("ask", "footage", "What is it?"): "footage is a folder",
    ("chat", "holiday.mp4", "What is it?"): "a chat asks for questions once it runs",
    (*ASK, "--framse", "2"): "there is no flag --framse",
    (*ASK, "--num-frames", "2"): "there is no flag --num-frames",
    (*ASK, "--method", "retain=0.25"): "name the method first, as in dycoke-plus:retain=0.25",
    (*ASK, "--merge_ratio", "0.5"): "there is no flag --merge_ratio",
    (*ASK, "--baseline"): "there is no flag --baseline",
    ("ask", "holiday.mp4", "--prompt", "What is it?"): "there is no flag --prompt",
    (*ASK, "--merge-ratio", "70"): "--merge-ratio must be at least 0 and below 1, not 70",
    (*ASK, "--method", "dyckoe"): "there is no method 'dyckoe'",
    (*ASK, "--model", "minni"): "there is no model 'minni'",
    ("eval", "shapse", "--limit", "1"): "there is no benchmark 'shapse'",
    ("cache", "clean"): "dycoke cache has no command 'clean'",
    ("describe", "holiday.mp4"): "there is no command describe",
    ("when", "holiday.mp4", "What is it?"): "there is no command when",
    (*BATCH, "--ouput", "a.csv"): "there is no flag --ouput",
    (*BATCH, "--out", "a.xlsx"): "--out a.xlsx: name a file that ends in",
    (*BATCH, "--out", "no/a.csv"): "there is no folder no; make it first",
    ("ask", "holiday.mp4", "-q", "What", "is", "it?"): "put the whole question in quotes",
    (*ASK, "Where is it?"): "ask several questions with -q",
    (*ASK, "--retain", "0.5"): "the method dycoke has no --retain",
    (*BATCH, "in", "german"): "put the whole question in quotes",
    (*ASK, "in", "german"): "put the whole question in quotes",
    (*BATCH, "--csv", "a.csv"): "there is no flag --csv; did you mean --out FILE.csv?",
    (*BATCH, "--output_dir", "no"): "there is no flag --output_dir; did you mean --out-dir?",
    (*BATCH, "-o", "a.csv"): "there is no flag -o; did you mean --out?",
    (*ASK, "-to", "1"): "there is no flag -to; did you mean --end?",
    (*ASK, "--K", "0.5"): "there is no flag --K; did you mean --merge-ratio?",
    (*ASK, "-L", "3"): "there is no flag -L; did you mean --prune-layer?",
    (*ASK, "--method", "dycoke(merge_ratio=0.5,window=8)"): "as in dycoke:merge_ratio=0.5,win",
    (*ASK, "--dry-run"): "QUESTION --estimate` shows what one takes",
    ("demo", "holiday.mp4"): "dycoke demo takes flags alone: `dycoke ask holiday.mp4",
    ("ask", "Holiday.MP4", "What is it?"): "the folder; did you mean holiday.mp4?",
    ("ask", "holiday", "What is it?"): "the folder; did you mean holiday.mp4?",
    ("cache", "rm"): "dycoke cache has no command 'rm': did you mean `dycoke cache clear`?",
    ("cache", "--clear"): "there is no flag --clear: `dycoke cache clear` deletes encoded videos",
    ("models", "search", "qwen"): "no search: did you mean `dycoke models qwen`?",
    (*BATCH, "--dry-run"): "there is no flag --dry-run: `dycoke ask VIDEO QUESTION --estimate`",
    ("ask", "footage", "What is it?", "--estimate"): 'batch footage "What is it?" --estimate`',
}
# Without one command that would be right for everybody.
OTHERS = {
    ("holliday.mp4", "What is it?"): "holliday.mp4 doesn't exist",
    (*ASK, "\u2014frames", "2"): "begins with the dash of a web page: write --frames",
    (*ASK, "--method", "dycoke:merge_ratio:0.5"): "write a parameter as name=value: merge_ratio",
    ("-m", "mini", *ASK): "as in `dycoke ask VIDEO QUESTION --model`",
    ("caption", "footage", "--prompt", "What", "is", "it?"): "--prompt takes one value: put in q",
    ("caption", "holiday.mp4", "What is it?"): "; a prompt stands behind --prompt",
    ("evaluate", "shapes"): "`dycoke eval BENCHMARK` measures accuracy",
    (*ASK, "--ctx-size", "8192"): "--video-tokens bounds what a video takes of it",
    ("probe", "holiday.mp4", "--every", "2s"): "a frame every 2 s is --fps 0.5",
    (*ASK, "--yes-no", "a.csv"): "--yes-no takes no value: leave 'a.csv' out, or write > a.csv",
    (*ASK, "--score", "1", "5"): "--score takes one value: write 1-5",
    (*ASK, "--no-ttm", "true"): "--no-ttm takes no value: leave 'true' out",
    ("bench", "holiday.mp4", "What is it?"): "doesn't exist: a question stands behind -q",
    ("cache", "clear", "all"): "nothing is kept under the name 'all'; it is one of",
    (*ASK, "--every", "2", "s"): "--every takes one value: write 2s, or put in quotes",
    (*ASK, "--every", "2", "seconds"): "--every takes one value: write 2s, or put in quotes",
    (*ASK, "--choices", "red", "blue"): "--choices takes one value: write red,blue",
    (*ASK, "\u2014-yes-no"): "begins with the dash of a web page: write --yes-no",
    (*ASK, "--out", "a.csv"): "`dycoke batch VIDEO QUESTION --out FILE.csv` writes a table",
    ("ask", "holiday.mp4", "-q", "notes.json"): "notes.json is a file, not a question: `dycoke",
    (*ASK, "--yes-no", "true"): "--yes-no takes no value: leave 'true' out",
    (*BATCH, "--choices", "red,", "blue"): "--choices takes one value: write red,blue",
    ("batch", "footage", "--questions", "What is it?"): "; a question stands behind -q",
    ("caption", "footage", "Describe the clip"): "; a prompt stands behind --prompt",
    ("models", "remove", "mini"): "`hf cache rm model/OWNER/NAME` (of huggingface_hub) removes",
    ("serve", "mini"): "a model stands behind a flag: --model mini",
    ("serve", "start"): "`dycoke serve` starts the server, and Ctrl-C ends it",
    ("stop",): "there is no command stop: Ctrl-C ends `dycoke serve`",
    (*ASK, "--model", "gpt-4o"): "is asked with --server URL --model NAME",
    (*ASK, "--model", "model.gguf"): "whose format is that of llama.cpp, which isn't read",
    (*ASK, "--frames", "1000000"): "--frames must be 100,000 or fewer, not 1,000,000",
    ("probe", "footage"): "footage is a folder without pictures: name one video file",
    ("probe", "holiday.mp4", "b.mp4"): "'b.mp4': put what has spaces in quotes; an example",
    ("caption", "footage"): 'the bundled model only knows moving shapes: --prompt "What happens?"',
    ("serve", "--port", "99999"): "--port: it must be less than or equal to 65535",
    ("ask", "--video", *ASK[1:]): "there is no flag --video: name a video without a flag",
    ("dycoke", *ASK): "there is no command dycoke: leave the second dycoke out",
    ("batch", "footaeg", "What is it?", "--frames", "2"): "footaeg doesn't exist",
    (*ASK, "--question"): "--question needs a value: --question TEXT",
    (*ASK, "--quantize", "8bit"): "--quantize: '8bit' is not one of 'int8', 'int4'",
    (*ASK, "--start", "1:xx"): '--start: "1:xx" isn\'t a time: write seconds',
    (*ASK, "--model", "footage"): "name the folder that config.json is in, or one of `dycoke mode",
    ("batch", "notes.json", "What is it?"): "notes.json isn't a list of videos, one path per line",
    ("batch", "texts", "What is it?"): "there is no video in the folder texts",
    ("eval", "shapes", "--methods", "none", "dycoke"): "commas between the parts of a list",
    ("serve", "--port", "http"): "--port: it takes a whole number",
    (*ASK, "--frames-by", "question"): "--method uniform-spatial:frames_by=…",
    ("eval", "shapes", "--merge-dropped"): "merge_dropped=…",
    ("eval", "shapes", "--methods", "none dycoke"): "there is no method 'none dycoke'",
    ("eval", "shapes", "--methods", "none,dycoke", "--retain", "0.25"): "of --methods none does",
    ("models", "download", "mini"): "`dycoke models pull NAME` downloads one",
    ("convert", "nope.jsonl", "x.csv"): "nope.jsonl doesn't exist: check the spelling",
    (*ASK, "--method", "zzz"): "there is no method 'zzz'; `dycoke methods` lists them",
    ("ask",): 'VIDEO… is missing; an example: `dycoke ask holiday.mp4 "What happens?"`',
    ("models", "info", "mimi"): "did you mean mini?",
    ("methods", "fastw"): "did you mean fastv?",
    (*ASK, "none,dycoke"): "none,dycoke doesn't exist: check the spelling and the folder",
    ("model", "What?"): "did you mean `dycoke models`?",
    ("xyz", "What?"): "there is no command and no file 'xyz': `dycoke --help` lists the commands",
    ("run", "What?"): "there is no command run: `dycoke ask VIDEO QUESTION` asks",
    (*ASK, "-vf", "fps=1"): "there is no flag -vf: --fps, --frames and --start choose the frames",
    (*ASK, "-x"): "there is no flag -x (see `dycoke ask --help`)",
    ("serve", "Qwen/Qwen2.5-VL-3B-Instruct"): "behind a flag: --model Qwen/Qwen2.5-VL-3B-Instruct",
    ("doctor", "cuda"): "'cuda', dycoke doctor takes flags alone: leave it out",
    ("--model", "mini", *ASK): "put it behind, as in `dycoke ask VIDEO QUESTION --model`",
    (*BATCH, "--out", "a.csv", "--out", "b.csv"): "takes one file, and has a.csv and b.csv",
    (*ASK, "--frames", "8", "16"): "--frames takes one value: leave '16' out",
    (*ASK, "--memory-limit", "4", "GB"): "--memory-limit takes one value: write 4GB, or put in",
    (*ASK, "--fps", "1/2"): "--fps must be a number, not '1/2': write 0.5",
    (*ASK, "--frames", "30 frames"): "--frames must be a whole number, not '30 frames': write 30",
    (*ASK, "--model", "llava:7b"): "did you mean llava-onevision-0.5b? `dycoke models llava` lists",
    ("ask", "C:\\Users\\me\\a.mp4", "What is it?"): "write /mnt/c/Users/me/a.mp4",
    ("ask", "file:///a/b.mp4", "What is it?"): "file:///a/b.mp4 is an address: write /a/b.mp4",
    ("watch", "0", "What is it?"): "watch opens no address and no device",
    ("watch", "/dev/video99", "What is it?"): "watch opens no address and no device",
    ("watch", "holiday.mp4"): 'as in `dycoke watch VIDEO "…"`',
    ("batch", "footage", "--questions", "texts"): "(Is a directory); name a file in it",
    ("batch", "footage", "--questions", "texts/a.txt"): "alone, one per line, is read by -q - < FI",
    ("batch", "footage", "--questions", "q.csv"): 'is missing, and what is there is "clip", "fra',
    ("batch", "footage", "--questions", "book.xlsx"): "is a workbook or an archive: save it as CSV",
    ("batch", "footage", "-q", "texts/a.txt"): "`dycoke ask VIDEO -q - < texts/a.txt` asks what",
    ("caption", "footage", "--prompt", "x", "--out-dir", "notes.json"): "is a file, not a folder; ",
    ("convert", "texts/a.txt", "a.jsonl"): "texts/a.txt, line 1: that isn't JSON",
    ("models", "use", "mini"): "dycoke models has no use: --model NAME names one",
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("holiday.mp4", "footage/a.mp4", "footage/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(CLIP.read_bytes())
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    (tmp_path / "notes.json").write_text("[\n1\n]\n")
    (tmp_path / "q.csv").write_text("clip,frage\na.mp4,Wer?\n")
    (tmp_path / "book.xlsx").write_bytes(b"PK\x03\x04")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("typed", [*MISTAKES, *OTHERS], ids=" ".join)
def test_a_mistake_is_named_in_one_sentence(fake: Fake, typed: tuple[str, ...]) -> None:
    run = run_here(*typed)
    assert (run.code > 0, run.out, fake) == (True, "", [])
    assert run.err.startswith("Error: ")
    assert run.err.count("\n") == 1
    assert {**MISTAKES, **OTHERS}[typed] in run.err


@pytest.mark.parametrize("typed", [*MISTAKES], ids=" ".join)
def test_the_advice_works_as_it_is_typed(fake: Fake, typed: tuple[str, ...]) -> None:
    words = followed(typed, run_here(*typed).err)
    if words[0] == "mkdir":
        Path(words[-1]).mkdir(parents=True)
        words = [*typed]
    # With a model or the user's files.
    if words[0] in ("eval", "cache", "caption") or "--when" in words:
        understood(words)
        return
    run = run_here(*words)
    assert run.code == 0, run.err


def followed(typed: tuple[str, ...], said: str) -> list[str]:
    """The words of a command line that follows the advice of a sentence, and nothing else."""
    if command := re.search(
        r"`(?:dycoke )?([^`]*)`", said.replace("(see `dycoke ask --help`)", "")
    ):
        words = shlex.split(command[1].replace("FOLDER", "footage").replace("VIDEO", "holiday.mp4"))
        return words if len(words) > 1 else [*words, *typed[1:]]
    if added := re.search(r": add (--.*)", said):
        return [*typed, *shlex.split(added[1])]
    if questions := re.search(r': (-q ".*)', said):
        return [*typed[:2], *shlex.split(questions[1])]
    meant = re.search(r"(?:did you mean |as in )(?:--out )?(\S+(?: [a-z0-9]+)?)\??", said)
    assert meant is not None, said
    # The last word that the sentence quotes is the wrong one.
    wrong = max(place for place, word in enumerate(typed) if word in said)
    return [*typed[:wrong], *shlex.split(meant[1].rstrip("?")), *typed[wrong + 1 :]]


@pytest.mark.parametrize("asked", ["What is it?", "What"])
def test_a_name_with_spaces_that_isnt_in_quotes(asked: str) -> None:
    Path("my red car.mp4").write_bytes(b"")
    said = 'Error: my red car.mp4 has spaces in its name: put it in quotes, as in "my red car.mp4"'
    assert run_here("ask", "my", "red", "car.mp4", asked).err.rstrip() == said
    assert run_here("ask", "holiday.mp4", "my", "red", "car.mp4", asked).err.rstrip() == said


def test_a_quoted_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    run = run_here("batch", "footage", "What is it?", "--out", "~/none/a.csv")
    assert f"there is no folder {tmp_path}/none" in run.err
    assert f"{tmp_path}/nowhere.mp4 doesn't" in run_here("ask", "~/nowhere.mp4", "What?").err
