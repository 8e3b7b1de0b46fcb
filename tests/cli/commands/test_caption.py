"""`dycoke caption`: what is written, kept, skipped and refused; the engine only pretends.

The layouts of trainers are read by small readers that follow each loader's rule (docs/caption.md).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.caption import CaptionStyle, sentences
from dycoke_cli.ask import Ask
from dycoke_cli.cli.commands.caption_text import PROMPTS
from dycoke_cli.runs.journal import locked
from tests import warm
from tests.cli.harness import PATIENCE_S, ROOT, Outcome, run_here
from tests.pages import commands
from tests.runs.pretended import Pretended, make_clips, pretended_answer
from tests.waiting import until
from training.world.script_questions import UNKNOWN

MINI = ("--model", "mini", "--device", "cpu")
NAMES = ("1.mp4", "2.mp4", "10.mp4", "photo.png", "sub/a.webm")
VIDEOS = {".mp4", ".webm"}


@pytest.fixture(autouse=True)
def spoken(engine: Pretended) -> dict[str, str]:
    """What is said of a video, by its name, in place of something of its own."""
    texts: dict[str, str] = {}

    def answer(ask: Ask) -> Answer:
        path = Path(ask.videos[0].path)
        text = texts.get(path.name, f"The video shows {path.stem}.")
        return replace(pretended_answer(ask.question), answer=text)

    engine.answer = answer
    return texts


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    (tmp_path / "clips" / "sub").mkdir(parents=True)
    return make_clips(tmp_path / "clips", *NAMES)


def caption(*arguments: str | Path, stdin: bytes = b"") -> Outcome:
    return run_here("caption", *arguments, *MINI, stdin=stdin)


def texts(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*.txt")
    }


def test_each_clip_and_picture_has_a_caption_and_the_next_run_goes_on(
    clips: Path, engine: Pretended
) -> None:
    run = caption(clips)
    assert (run.code, run.out) == (0, "")
    assert texts(clips) == {
        "1.txt": "1.\n",
        "2.txt": "2.\n",
        "10.txt": "10.\n",
        "photo.txt": "Photo.\n",
        "sub/a.txt": "A.\n",
    }
    assert run.err == (
        f"5 captions written beside the clips, longest 1 word ({clips / 'sub' / 'a.webm'}), "
        f"shortest 1 ({clips / '1.mp4'})\n"
    )
    about = dict(engine.asked)
    assert about.pop("photo.png") == PROMPTS["short"].replace("video", "picture")
    assert {*about.values()} == {PROMPTS["short"]}
    make_clips(clips, "3.mp4")
    before = len(engine.asked)
    assert caption(clips).err.startswith(
        "1 caption written beside the clips, 5 skipped (there is a caption)"
    )
    assert engine.asked[before:] == [("3.mp4", PROMPTS["short"])]
    # A file that an editor or another program left empty is no caption.
    (clips / "3.txt").write_text("")
    assert caption(clips).err.startswith("1 caption written")


def test_two_runs_of_the_same_clips(clips: Path) -> None:
    with locked(clips / "1.txt"):
        run = caption(clips)
    assert (run.code, run.out, texts(clips)) == (6, "", {})
    assert re.search("another run is writing to .*; .* or give another --out-dir", run.err)


def test_a_broken_clip_ends_nothing_and_is_tried_again(clips: Path, spoken: dict[str, str]) -> None:
    make_clips(clips, "bad.mp4")
    refusal = "I'm sorry, but I can't describe people."
    spoken |= {"2.mp4": "<think>hm", "10.mp4": refusal}
    run = caption(clips)
    assert run.code == 1
    assert {*texts(clips)} == {"1.txt", "photo.txt", "sub/a.txt"}
    lines = run.err.splitlines()
    assert f"Failed: {clips / 'bad.mp4'}: it can't be read" in lines
    said = f"{clips / '10.mp4'}: {refusal!r} is no caption; --raw keeps all that the model says"
    assert f"Failed: {said}" in lines
    assert lines[-1].startswith("3 captions written beside the clips, 3 failed")
    spoken.clear()
    assert caption(clips).code == 1
    assert {"2.txt", "10.txt"} <= {*texts(clips)}


def test_an_edited_caption_is_kept_until_that_is_asked_for(
    clips: Path, engine: Pretended, spoken: dict[str, str]
) -> None:
    caption(clips)
    (clips / "2.txt").write_text("my own words\n")
    (clips / "10.txt").write_text("10.")  # an editor's change of the last line end isn't one
    (clips / "sub" / "b.webm").write_text("another")
    (clips / "sub" / "b.txt").write_text("of another program")
    spoken |= dict.fromkeys(("1.mp4", "2.mp4", "10.mp4", "b.webm"), "Anew.")
    run = caption(clips, "--overwrite", "--prompt", "motion")
    assert "2 edited and kept (--overwrite-edited)" in run.err
    assert texts(clips) == {
        "1.txt": "Anew.\n",
        "2.txt": "my own words\n",
        "10.txt": "Anew.\n",
        "photo.txt": "Photo.\n",
        "sub/a.txt": "A.\n",
        "sub/b.txt": "of another program",
    }
    # Interrupted, the same command goes on: what is as it would be isn't asked again.
    asked = len(engine.asked)
    run = caption(clips, "--overwrite", "--prompt", "motion")
    assert run.err.startswith("0 captions written, 4 skipped")
    assert len(engine.asked) == asked
    assert caption(clips, "--overwrite", "--prompt", "motion", "--trigger", "ohwx").code == 0
    assert texts(clips)["1.txt"] == "ohwx, Anew.\n"
    run = caption(clips, "--overwrite-edited", "--prompt", "motion")
    assert (texts(clips)["2.txt"], texts(clips)["sub/b.txt"]) == ("Anew.\n", "Anew.\n")


@pytest.mark.parametrize("lost", ["deleted", "unwritable"])
def test_where_hashes_are_lost_captions_count_as_edited(
    clips: Path, tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lost == "unwritable":
        (tmp_path / "file").touch()
        monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "file" / "cache"))
    assert caption(clips).code == 0
    if lost == "deleted":
        assert run_here("cache", "clear", "made").code == 0
    assert "5 edited and kept" in caption(clips, "--overwrite", "--prompt", "tags").err


def test_a_dry_run_lists_and_writes_nothing(clips: Path, engine: Pretended) -> None:
    (clips / "1.txt").write_text("there")
    before = {*clips.rglob("*")}
    for flags in ((), ("--out", str(clips / "all.jsonl")), ("--out-dir", str(clips / "new"))):
        run = caption(clips, "--dry-run", "--prompt", "What moves?", *flags)
        assert run.code == 0
        skipped = "--out-dir" not in flags
        assert len(run.out.splitlines()) == len(NAMES) - skipped
        assert run.err == (
            f"{len(NAMES) - skipped} captions would be written; the prompt: What moves?\n"
        )
    assert {*clips.rglob("*")} == before
    assert engine.asked == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder_is_refused_at_once(clips: Path, engine: Pretended) -> None:
    clips.chmod(0o500)
    try:
        run = caption(clips)
    finally:
        clips.chmod(0o700)
    assert run.code == 6
    assert "--out-dir FOLDER puts the captions elsewhere" in run.err
    assert engine.asked == []


def test_captions_of_a_read_only_folder_go_elsewhere(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for folder in (clips / "sub", clips):
        folder.chmod(0o500)
    try:
        run = caption(clips, "--out-dir", out)
    finally:
        for folder in (clips, clips / "sub"):
            folder.chmod(0o700)
    assert run.code == 0
    assert {*texts(out)} == {"1.txt", "2.txt", "10.txt", "photo.txt", "sub/a.txt"}
    assert texts(clips) == {}
    # A list may name videos outside of its folder.
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "few.list").write_text(f"../clips/1.mp4\n{clips / '2.mp4'}")
    assert caption(tmp_path / "lists" / "few.list", "--out-dir", tmp_path / "other").code == 0
    assert {*texts(tmp_path / "other")} == {"clips/1.txt", "clips/2.txt"}


def test_a_caption_of_another_part_is_not_taken_for_that_of_this_one(
    clips: Path, spoken: dict[str, str]
) -> None:
    first, second = (clips / "1.mp4", "--end", "4"), (clips / "1.mp4", "--start", "4")
    assert "trainers see the whole clip: cut the part out" in caption(*first).err
    for other in (second, second[:1], (*second, "--dry-run")):
        run = caption(*other)
        assert (run.code, run.out) == (2, "")
        assert f"{clips / '1.txt'} is about another part of {clips / '1.mp4'}, or " in run.err
        assert "cut the part out (`ffmpeg " in run.err
    assert "1 skipped (there is a caption" in caption(*first).err
    spoken["1.mp4"] = "Later."
    assert caption(*second, "--out-dir", clips.parent / "second").code == 0
    assert caption(*second, "--overwrite").code == 0
    assert caption(*first).code == 2
    # Nor that of another clip of its name, which was there before.
    content = (clips / "1.mp4").read_bytes()
    (clips / "1.mp4").write_bytes(content + b"another")
    assert caption(*second).code == 2
    (clips / "1.mp4").write_bytes(content)
    assert caption(*second).code == 0
    # An edited one stays, whatever it was made of.
    (clips / "1.txt").write_text("mine")
    assert caption(*first).code == 0


def test_a_caption_that_ends_within_a_sentence_is_told(clips: Path, spoken: dict[str, str]) -> None:
    spoken |= {"1.mp4": "A dog runs along.", "2.mp4": "A cat. It sits on it.", "10.mp4": "Go."}
    run = caption(clips / "1.mp4", clips / "2.mp4", clips / "10.mp4", "--max-words", "2")
    assert texts(clips) == {"1.txt": "A dog\n", "2.txt": "A cat.\n", "10.txt": "Go.\n"}
    hint = "raise --max-words or --max-tokens to redo these"
    assert f", 1 cut in mid-sentence ({clips / '1.mp4'}; {hint}), longest 2 words" in run.err


def test_a_larger_limit_redoes_only_what_was_cut(clips: Path, spoken: dict[str, str]) -> None:
    spoken |= {"1.mp4": "A dog runs along.", "2.mp4": "A cat."}
    two = (clips / "1.mp4", clips / "2.mp4", "--max-words")
    caption(*two, "2")
    assert "2 skipped" in caption(*two, "2").err  # not again at the same limit
    spoken["2.mp4"] = "Another."
    assert caption(*two, "9", "--dry-run").out.split() == [os.path.relpath(clips / "1.txt")]
    assert "1 caption written" in caption(*two, "9").err
    assert texts(clips) == {"1.txt": "A dog runs along.\n", "2.txt": "A cat.\n"}


def test_captions_that_stay_by_other_settings_are_told(clips: Path) -> None:
    caption(clips / "1.mp4")
    (clips / "2.txt").write_text("of another program")
    said = "the captions that stay had another --prompt, --trigger or --raw: --overwrite writes"
    for flags in (("--trigger", "ohwx"), ("--prompt", "motion"), ("--raw",)):
        assert f"1 of {said}" in caption(clips / "1.mp4", clips / "2.mp4", *flags).err
    assert said not in caption(clips / "1.mp4", clips / "2.mp4").err
    assert said not in caption(clips / "1.mp4", "--trigger", "ohwx", "--overwrite").err


def test_two_files_of_one_name_are_named(clips: Path) -> None:
    make_clips(clips, "1.jpg")
    run = caption(clips)
    assert run.code == 0
    assert "has the caption file of" in run.err.splitlines()[0]


def test_one_file_has_all_captions_that_are_there(
    clips: Path, engine: Pretended, spoken: dict[str, str]
) -> None:
    spoken |= {"2.mp4": 'It says "a, b",\nand é.'}
    (clips / "10.txt").write_text("mine\n")
    path = clips / "captions.jsonl"
    assert caption(clips, "--out", path).code == 0
    found = {row["video_path"]: row["caption"] for row in rows(path)}
    assert [*found] == [*NAMES]
    assert (found["2.mp4"], found["10.mp4"]) == ('It says "a, b", and é.', "mine")
    # Made anew: of texts that somebody has changed, and of new clips.
    (clips / "1.txt").write_text("edited")
    make_clips(clips, "3.mp4")
    assert caption(clips, "--out", path).err.startswith("1 caption written beside")
    found = {row["video_path"]: row["caption"] for row in rows(path)}
    assert [*found] == ["1.mp4", "2.mp4", "3.mp4", "10.mp4", "photo.png", "sub/a.webm"]
    assert found["1.mp4"] == "edited"
    # A run about some of them keeps the others, but for those that are gone.
    (clips / "3.mp4").unlink()
    (clips / "2.txt").write_text("mine, too")
    assert caption(clips / "2.mp4", "--out", path).code == 0
    changed = {row["video_path"]: row["caption"] for row in rows(path)}
    found |= {"2.mp4": "mine, too"}
    del found["3.mp4"]
    assert changed == found
    assert caption(clips / "2.mp4", "--out", path, "--absolute").code == 0
    del found["2.mp4"]
    found = {str(clips / "2.mp4"): "mine, too", **found}
    assert [(row["video_path"], row["caption"]) for row in rows(path)] == [*found.items()]
    asked = len(engine.asked)
    path.write_text("mine")
    run = caption(clips, "--out", path, "--overwrite", "--prompt", "motion")
    assert (run.code, path.read_text(), len(engine.asked)) == (6, "mine", asked)
    assert (
        "captions.jsonl exists, or was changed since it was written, and stays as it is" in run.err
    )


@pytest.mark.parametrize("flags", ["", "--dry-run"])
def test_what_is_no_file_is_not_read(clips: Path, flags: str) -> None:
    path = clips / "1.txt"
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        make(path)
        run = caption(clips, *flags.split())
        assert (run.code, run.err.count("\n")) == (6, 1)
        assert re.search(rf"{path} (can't be read \(Not a regular|isn't a) file", run.err)
        path.unlink()


def test_a_name_that_is_no_text_is_for_text_files_alone(clips: Path, engine: Pretended) -> None:
    (clips / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"another")
    assert caption(clips, "--out-dir", clips.parent / "out").code == 0
    assert b"caf\xe9.txt" in os.listdir(os.fsencode(clips.parent / "out"))
    run = caption(clips, "--out", clips / "all.jsonl")
    assert (run.code, run.err.count("\n")) == (2, 1)
    assert "or leave out --out" in run.err


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--out", "a.json"), "name a file that ends in .jsonl"),
        (("--key", "x"), "--key needs --out"),
        (("--out", "a.jsonl", "--key", "x,x"), "give one key or two"),
        (("--prompt", " "), "--prompt is empty"),
        (("--max-words", "0"), "--max-words"),
        (("--max-words", "2", "--trigger", "oh wx"), "leaves no word behind --trigger oh wx"),
        (("--prompt", "detaild"), "--prompt detaild: did you mean detailed?"),
        (("--method", "v-cast", "--video-tokens", "9"), "and --video-tokens reads it in windows"),
    ],
)
def test_what_is_refused(
    clips: Path, flags: tuple[str, ...], sentence: str, engine: Pretended
) -> None:
    run = caption(clips, *flags)
    assert (run.code, run.out, engine.asked) == (2, "", [])
    assert sentence in run.err
    assert len(run.err.splitlines()) == 1


LEADS = (
    *("The video begins with ", "The scene opens on ", "The video appears to show ", "We see "),
    *("The provided video shows ", "In the provided video, ", "In this video, we can see "),
    *("This is a video of ", "A video of ", "The video you've provided shows ", "**Caption:** "),
    *("The series of images shows ", "Based on the frames provided, ", "assistant\n", "Claro: "),
    *("Das Video zeigt ", "Im Video sieht man ", "Dans cette vidéo, ", "La vidéo montre "),
    *("En este vídeo, vemos ", "El video comienza con ", "Caption (one sentence): ", "标题："),
    *("这个视频展示了", "视频中，", "この動画では、", "Voici la légende :\n\n", "以下是描述：\n"),
)
REFUSALS = (
    *("I’m unable to view videos.", "As an AI, I see none.", "Es tut mir leid, das geht nicht."),
    *("Lo siento, no puedo verlo.", "Je suis désolé.", "抱歉，我无法查看。", '{"caption": "A dog'),
)
SAID = {
    **{f"{lead}A dog runs.": "A dog runs." for lead in LEADS},
    **dict.fromkeys(REFUSALS, ""),
    '```json\n{"tags": [], "caption": "A dog."}\n```': "A dog.",
    '["dog", "green grass"]': "dog, green grass",
    "A dog runs.<|im_end|>": "A dog runs.",
    "A dog. I cannot see any more details. If you need more, just ask!": "A dog.",
    "The video store shows a dog.": "The video store shows a dog.",
    "视频中的人在跑。": "视频中的人在跑。",
    "This short video clip depicts that a man swims.": "A man swims.",
    "In the clip, a dog runs.": "A dog runs.",
    "Sure! Here's a caption for the video:\n\n**A dog runs.**": "A dog runs.",
    "Caption: “A dog runs.”": "A dog runs.",
    '"A dog runs."': "A dog runs.",
    '"Stop" is on the sign, and "Go"': '"Stop" is on the sign, and "Go"',
    "```\nA dog\nruns.\n```": "A dog runs.",
    "### Scene\n> A *quick* dog_house, `old`, [here](http://x).": (
        "Scene A quick dog_house, old, here."
    ),
    "- dog\n- beach.\n- golden hour": "dog, beach, golden hour",
    "1. A dog runs along the long beach.\n2. It stops there and looks around.": (
        "A dog runs along the long beach. It stops there and looks around."
    ),
    "<think>Is it a cat?</think>A dog.": "A dog.",
    "A dog.\nLet me know if you need more details!": "A dog.",
    "The video": "The video",
    "The video shows": "The video shows",
    "The video game shows a dog.": "The video game shows a dog.",
    "The image features": "The image features",
    "A dog with 3 * 4 * 5 and snake_case_name": "A dog with 3 * 4 * 5 and snake_case_name",
    "In the beginning, a dog runs.": "In the beginning, a dog runs.",
    "Here is the sea.": "Here is the sea.",
    "一只狗在海滩上跑。": "一只狗在海滩上跑。",
    "A \u202edog\x07 \U0001f469\u200d\U0001f4bb.\u200b": "A dog \U0001f469\u200d\U0001f4bb.",
}


def test_what_the_bundled_model_cannot_see_is_no_caption(
    clips: Path, spoken: dict[str, str]
) -> None:
    spoken |= {"1.mp4": UNKNOWN}
    run = caption(clips / "1.mp4", clips / "2.mp4")
    assert run.code == 1
    assert [*texts(clips)] == ["2.txt"]
    assert f"{UNKNOWN!r} says the bundled model" in run.err
    unnamed = run_here("caption", clips / "2.mp4", "--prompt", "Who?", "--overwrite")
    assert unnamed.err.startswith("Using the bundled demo model")


def made(style: CaptionStyle, said: str, *, is_cut: bool = False) -> str:
    return style.caption(said, is_cut=is_cut)[0]


@pytest.mark.parametrize("said", SAID)
def test_what_is_around_a_caption_is_stripped(said: str) -> None:
    found = made(CaptionStyle(), said)
    assert found == SAID[said]
    assert made(CaptionStyle(), found) == found
    assert (
        made(CaptionStyle(raw=True), said).split()
        == "".join(c for c in said if c.isprintable() or c in "\n\u200d").split()
    )


def test_words_around_a_caption() -> None:
    style = CaptionStyle(trigger="ohwx", max_words=4)
    assert made(style, "a dog. It runs along.") == "ohwx, a dog."
    assert made(style, "a dog runs. It runs along.") == "ohwx, a dog runs."
    assert made(style, "a dog runs on. It runs along.") == "ohwx, a dog runs"
    assert made(style, "Ohwx dog runs on. It runs along.") == "Ohwx dog runs on."
    assert made(CaptionStyle(max_words=3), "A dog, a, cat") == "A dog, a"
    assert made(CaptionStyle(max_words=9), "A dog. A cat") == "A dog. A cat"
    assert made(CaptionStyle(max_words=4), "Prof. Lee speaks on a stage") == "Prof. Lee speaks on"
    assert made(CaptionStyle(max_words=6), "一只狗在跑。猫在睡。") == "一只狗在跑。"
    trigger = CaptionStyle(trigger="ohwx,")
    once = made(trigger, "A dog.")
    assert (once, made(trigger, once)) == ("ohwx, A dog.", "ohwx, A dog.")
    assert made(trigger, "Ohwx runs.") == "Ohwx runs."
    assert made(trigger, "ohwxs run.") == "ohwx, ohwxs run."
    assert made(trigger, "") == ""
    # An answer that its limit of tokens cut ends with a sentence.
    assert made(CaptionStyle(), "A dog runs. It sto", is_cut=True) == "A dog runs."
    assert made(CaptionStyle(), "A dog ru", is_cut=True) == "A dog ru"
    ends = {
        "A dog ru": True,
        "A dog runs. It sto": False,
        "A dog runs.": False,
        "Dog, cat, bi": False,
    }
    for raw in (False, True):
        style = CaptionStyle(raw=raw)
        assert {said: style.caption(said, is_cut=True)[1] for said in ends} == {
            said: is_cut or (raw and said[-1] != ".") for said, is_cut in ends.items()
        }


SENTENCES = {
    "A man walks. He waves at Dr. Smith, e.g. twice.": [
        "A man walks. ",
        "He waves at Dr. Smith, e.g. twice.",
    ],
    "No. 5 stops. Approx. 50 get off.": ["No. 5 stops. ", "Approx. 50 get off."],
    "Prof. Lee geht am 3. Mai. Mt. Fuji.": ["Prof. Lee geht am 3. Mai. ", "Mt. Fuji."],
    "एक कुत्ता है। एक बिल्ली है।": ["एक कुत्ता है। ", "एक बिल्ली है।"],
    "It is 3.5 m tall! Really? Yes...": ["It is 3.5 m tall! ", "Really? ", "Yes..."],
    "J. Smith runs... then he sits.": ["J. Smith runs... then he sits."],
    "He says “Stop.” She stops.": ["He says “Stop.” ", "She stops."],
    "dog, green grass, running": ["dog, ", "green grass, ", "running"],
    "A dog, a cat, and a bird play.": ["A dog, a cat, and a bird play."],
    "A dog and a cat": ["A dog and a cat"],
    "一只狗在跑。猫在睡。": ["一只狗在跑。", "猫在睡。"],
    "One\nTwo. Three": ["One\n", "Two. ", "Three"],
}


@pytest.mark.parametrize("text", SENTENCES)
def test_sentences_of_a_text(text: str) -> None:
    found = sentences(text)
    assert found == SENTENCES[text]


@given(st.text(st.sampled_from('ab.!? \n,A。"”'), max_size=40))
def test_sentences_joined_are_the_text(text: str) -> None:
    assert "".join(sentences(text)) == text


# Readers that follow the rules of trainers' loaders.


def musubi_folder(folder: Path, suffixes: set[str]) -> dict[str, str]:
    """Files of the folder by suffix; the text beside each, whole."""
    media = sorted(path for path in folder.iterdir() if path.suffix in suffixes)
    return {one.name: one.with_suffix(".txt").read_text("utf-8").strip() for one in media}


def lines_read(path: Path, key: str, folder: Path) -> dict[str, str]:
    """An object per line; its path is opened from a folder.

    That is the current one for musubi-tuner, the file's own for LTX, and that of the pictures for
    kohya's scripts.
    """
    found = rows(path)
    assert all((folder / one[key].strip()).is_file() for one in found)
    return {Path(one[key]).name: one["caption"] for one in found}


def diffusion_pipe(folder: Path) -> dict[str, str]:
    """Any file that isn't of a few suffixes is a video or a picture, hidden ones as well."""
    skipped = {".txt", ".npz", ".json", ".parquet", ".bak", ".db"}
    media = [path for path in folder.glob("*") if path.is_file() and path.suffix not in skipped]
    assert not (folder / "captions.json").exists()  # it would need lists of captions
    return {one.name: one.with_suffix(".txt").read_text("utf-8").strip() for one in media}


def kohya_folder(folder: Path) -> dict[str, str]:
    """Pictures; the first line of the text beside each, which may not be empty."""
    found = {}
    for one in folder.glob("*.png"):
        first, *_ = one.with_suffix(".txt").read_text("utf-8").splitlines(keepends=True)
        found[one.name] = first.strip()
    return found


def test_each_trainer_reads_its_layout(
    clips: Path, spoken: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken |= {"1.mp4": "A dog\nruns.", "photo.png": "A cat\nsits."}
    words = {"1.mp4": "A dog runs.", "2.mp4": "2.", "10.mp4": "10."}
    picture = {"photo.png": "A cat sits."}
    assert caption(clips).code == 0
    assert musubi_folder(clips, VIDEOS) == words
    assert musubi_folder(clips, {".png"}) == picture
    assert diffusion_pipe(clips) == words | picture
    assert kohya_folder(clips) == picture
    everything = words | picture | {"a.webm": "A."}
    lines = clips.parent / "lines.jsonl"
    assert caption(clips, "--out", lines, "--absolute", "--quiet").code == 0
    assert lines_read(lines, "video_path", Path()) == everything
    path = clips.parent / "ltx.jsonl"
    assert caption(clips, "--out", path, "--key", "media_path").code == 0
    assert lines_read(path, "media_path", path.parent) == everything
    path = clips / "meta.jsonl"
    pictures = str(clips / "*.png")
    assert caption(pictures, "--out", path, "--key", "image_path").code == 0
    assert lines_read(path, "image_path", clips) == picture
    monkeypatch.chdir(clips)
    assert lines_read(path, "image_path", Path()) == picture


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_written(tmp_path: Path) -> None:
    clips = make_clips(tmp_path / "clips", *(f"{number}.mp4" for number in range(12)))
    line = [sys.executable, "-m", "tests.runs.pretended", "caption", str(clips), *MINI]
    process = warm.Popen(line, cwd=ROOT, stderr=subprocess.PIPE)
    until(lambda: [*clips.glob("*.txt")])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    there = [*clips.glob("*.txt")]
    assert process.returncode == 130
    assert 2 <= len(there) < 12
    assert err.decode().splitlines() == [
        "Ending after the answers under way; Ctrl-C again ends at once",
        f"{len(there)} captions written; the same command resumes",
        "Interrupted",
    ]


PAGE = (ROOT / "docs" / "caption.md").read_text("utf-8")


@pytest.mark.slow
def test_the_page_has_the_prompts_and_its_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = dict(re.findall(r"^\| `(\w+)`(?: \(default\))? \| (.*) \|$", PAGE, re.MULTILINE))
    assert shown == PROMPTS
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample_videos").symlink_to(ROOT / "sample_videos")
    (tmp_path / "pictures").mkdir()
    make_clips(tmp_path / "clips", *NAMES[:3])
    make_clips(tmp_path / "pictures", "a.png")
    lines = [words[1:] for words in commands(PAGE)]
    lines += [shlex.split(line)[1:] for line in re.findall(r"`(dycoke caption [^`]*)` \|", PAGE)]
    assert len(lines) == 10
    for words in lines:  # what is named last wins
        run = run_here(*words, *MINI)
        assert (run.code, run.out) == (0, ""), words
    assert {*texts(tmp_path)} >= {"clips/1.txt", "captions/move.txt", "pictures/a.txt"}
    assert {path.name for path in tmp_path.rglob("*.jsonl")} >= {"captions.jsonl", "meta.jsonl"}
