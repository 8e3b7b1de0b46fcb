"""Texts of others: subtitles, files of questions, annotations, what models and judges say."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from dycoke_cli.errors import VideoError
from dycoke_cli.evaluation.datasets import DATASETS
from tests.evaluation import miniatures
from tests.fuzzing.mutators import Mutator, bytes_of, json_lines_of, json_of, text_of
from tests.fuzzing.subject import Subject
from tests.server.pretended import DEFAULTS

SRT = (
    miniatures.SRT + "\n4\n00:00:02,000 --> 00:00:03,000 X1:40 X2:600\n{\\an8}<i>Ünï {b}</i> 漢字\n"
)
VTT = """\
WEBVTT - a title

STYLE
::cue { color: lime }

NOTE what is said

1
00:00.000 --> 00:01.500 align:start line:0%
<v Ann>It <b>begins</b>.</v>

00:00:01.500 --> 00:00:02.000
- And <c.loud>goes</c> on &amp; on.
"""
ASS = """\
[Script Info]
ScriptType: v4.00+
PlayResX: 384

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Alignment
Style: Default,Arial,16,&Hffffff,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.00,0:00:01.00,Default,,0,0,0,,It {\\b1}begins{\\b0}.\\NHere.
Dialogue: 0,0:00:01.00,0:00:02.00,Default,Ann,0,0,0,,{\\p1}m 0 0 l 100 0 100 100{\\p0} and on
Comment: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,not shown
"""

QUESTIONS_JSONL = """\
{"video": "a.mp4", "question": "What happens?", "id": "1"}
{"video": "b/c.mp4", "question": "Is it \\"blue\\"? 漢字", "id": 2}
{"video": "a.mp4", "question": "How many?"}
"""
QUESTIONS_CSV = """\
video,question,id
a.mp4,What happens?,1
"b, c.mp4","Is it ""blue""?
Or not?",2
a.mp4,How many?,
"""

MARKED = (
    "<v.loud Ann>It <b>begins</b> <00:01.000>at a<b and c>d.</v> &amp; {braces} &lt;i&gt;",
    "{\\an8\\i1}Ünï{\\i0}\\N{\\p1}m 0 0 l 100 0{\\p0} <font color='#fff' size=\"4\">漢字</font>",
    "<lang en-GB.x>one<br/>two</lang> <ruby>漢<rt>kan</rt></ruby> \\{ \\\u2060 \\h end",
)
BEGINNINGS = (
    b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
    b"<!-- saved --> <!DOCTYPE html>\n<html><head><title>404</title></head></html>",
    b"\0\0\0\x18ftypisom\0\0\2\0isomiso2\0\0\0\x08free\0\0\x10\0mdat" + bytes(400),
    b"\0\0\0\1moov" + (2**40).to_bytes(8, "big") + b"\0\0\0\0wide",
    "Dies ist ein Brief: кто это читает, 漢字.".encode(),
)
ABROAD = (
    "정답은 B입니다. A는 아니고, 2번째 사람이 걷습니다.",
    "正解は(C)です。Aではありません。3番が正しい。",
    "答案是B,因为选项A不对。第二个选项",
    "La réponse est la (D), parce que l'option A n'est pas correcte.",
    "Die richtige Antwort ist Option B – nicht A und nicht C.",
    "La respuesta correcta es la B) Estrella azul; ni A ni C.",
    "Правильный ответ: В (не А). Вариант Б неверен.",
    "الإجابة الصحيحة هي (B) وليس A.",
    "सही उत्तर विकल्प (C) है, A नहीं।",
    "คำตอบคือ ② ตัวเลือก B ไม่ใช่ A",
    "Η σωστή απάντηση είναι η Β, όχι η Α.",
    "התשובה הנכונה היא B, ולא A.",
)

SAID = (
    "The answer is (B), because option A is a red star.",
    "<think>A? Or C.</think>\n**Answer:** \\boxed{D}",
    "It could be A or B. Wait, no: C is correct, and D isn't.",
    "a blue star moves to the right",
    "",
)
JUDGED = (
    '{"pred": "yes", "score": 4}',
    "```json\n{'pred': 'no', 'score': 1.5, 'why': ['it', {'is': None}]}\n```",
    '{"score": 3}',
)


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


def _json_lines(rows: miniatures.Rows) -> bytes:
    return b"".join(_json(row) + b"\n" for row in rows)


def _parquet() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.parquet")
        miniatures.put_parquet(path, miniatures.videomme_rows())
        return [path.read_bytes()]


_ASKED, _TOLD = miniatures.activitynet_rows()

BENCHMARKS: dict[str, tuple[str, str, bytes, Mutator]] = {
    "ActivityNet-QA": ("activitynetqa", "test_a.json", _json(_TOLD), json_of),
    "MVBench": (
        "mvbench_action_sequence", "action_sequence.json",
        _json(miniatures.mvbench_rows("action_sequence")), json_of,
    ),
    "NExT-QA": ("nextqa_mc_test", "test.csv", miniatures.csv_of(miniatures.nextqa_rows()), text_of),
    "Perception Test": (
        "perceptiontest_val_mc", "mc_question_valid.json", _json(miniatures.perception_videos()),
        json_of,
    ),
    "Video-MME": (
        "videomme", "test.jsonl", _json_lines(miniatures.videomme_rows()), json_lines_of
    ),
    "VideoDetailCaption": (
        "video_dc499", "test.csv", miniatures.csv_of(miniatures.videodc_rows()), text_of
    ),
}  # fmt: skip
"""Of each its name, the file that is broken, what is in it, and how it is broken."""


def _texts(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


def _subtitles(suffix: str, content: bytes, folder: Path) -> object:
    from tests.video.inside import read_subtitles

    path = folder / f"case{suffix}"
    path.write_bytes(content)
    return read_subtitles(path).at((0.0, 1.0, 2.0)).text


def _plain(content: bytes, _: Path) -> object:
    from dycoke_cli.video.subtitles import plain_text

    text = content.decode("utf-8", "replace")
    texts = [plain_text(text, codec) for codec in ("srt", "webvtt", "ass", "mov_text")]
    assert not any("\n" in one for one in texts), "a line break"
    return texts


def _begun(content: bytes, folder: Path) -> object:
    from dycoke_cli.storage.input_file import is_lfs_pointer
    from dycoke_cli.video.decoder import read
    from dycoke_cli.video.sampling import Sampling

    path = folder / "case.mp4"
    path.write_bytes(content)
    told = ""
    try:
        return read(path, Sampling(frames=1)).warnings
    except VideoError as error:
        told = str(error)
        raise
    finally:
        assert is_lfs_pointer(path) == ("git lfs pull" in told), told


def _questions(content: bytes, folder: Path) -> object:
    from dycoke_cli.runs.question_files import read_questions

    return read_questions(content, str(folder), "questions", DEFAULTS)


def _items(name: str, file: str, content: bytes, folder: Path) -> object:
    from dycoke_cli.evaluation.datasets import open_dataset

    (folder / file).write_bytes(content)
    if name == "activitynetqa":
        (folder / "test_q.json").write_bytes(_json(_ASKED))
    dataset = open_dataset(name, folder)
    items = dataset.items(dataset.about.splits[0], None)
    assert len({item.id for item in items}) == len(items), "two questions have one id"
    return [dataset.score(item, item.answer) for item in items], dataset.notes()


_LONGEST_ANSWER = 20_000  # some 5,000 tokens


def _said(content: bytes, _: Path) -> object:
    from dycoke_cli.evaluation.dataset import Item
    from dycoke_cli.evaluation.datasets import class_of
    from dycoke_cli.evaluation.scoring.rules import chosen

    options = ("Red star", "Blue star", "A man walks", "Green circle", "(E) 5")
    said = content.decode("utf-8", "replace")[:_LONGEST_ANSWER]
    for each in (options, ("붉은 별", "青い星", "Ein Mann", "Étoile", "звезда")):
        letter = chosen(said, each)
        assert letter is None or letter in "ABCDE"
    scores = []
    for name in DATASETS:
        one = class_of(name)
        item = Item("1", "v", "What?", "B", "", "", options=options)
        rules = (one.score, *getattr(one, "rules", {}).values())
        scores += [rule(item, said) for rule in rules]
    return scores


def _judged(content: bytes, _: Path) -> object:
    from dycoke_cli.evaluation.scoring.judge import PROMPTS

    for prompt in PROMPTS.values():
        try:
            prompt.parse(content.decode("utf-8", "replace"))
        except ValueError:  # which becomes a verdict that failed
            continue
    return None


_MODULES = (
    "dycoke_cli.evaluation.scoring.judge",
    "dycoke_cli.video.subtitles",
    "pyarrow.parquet",
    "av",
)

_ROWS: list[tuple[Any, ...]] = [
    *(
        (name, "subtitles", 2000, partial(_texts, *texts), text_of, partial(_subtitles, suffix))
        for name, suffix, texts in (
            ("SubRip", ".srt", (SRT, miniatures.SRT)),
            ("WebVTT", ".vtt", (VTT,)),
            ("ASS", ".ass", (ASS,)),
        )
    ),
    ("marks in a text", "subtitles", 2000, partial(_texts, *MARKED), text_of, _plain),
    ("beginning of a file", "video", 1500, partial(list, BEGINNINGS), bytes_of, _begun),
    ("JSON Lines", "questions", 2000, partial(_texts, QUESTIONS_JSONL), json_lines_of, _questions),
    ("CSV", "questions", 2000, partial(_texts, QUESTIONS_CSV), text_of, _questions),
    *(
        (title, "annotations", 1250, partial(list, [content]), mutate, partial(_items, name, file))
        for title, (name, file, content, mutate) in BENCHMARKS.items()
    ),
    (
        "Parquet", "annotations", 1000, _parquet, bytes_of,
        partial(_items, "videomme", "test.parquet"),
    ),
    ("of a model, scored", "answers", 2000, partial(_texts, *SAID), text_of, _said),
    ("of a model, in many languages", "answers", 2000, partial(_texts, *ABROAD), text_of, _said),
    ("of a judge", "answers", 1500, partial(_texts, *JUDGED), text_of, _judged),
]  # fmt: skip
SUBJECTS = [Subject(name, group, cases, _MODULES, *others) for name, group, cases, *others in _ROWS]
