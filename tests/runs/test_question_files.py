"""Files of questions: both formats say the same, and what is wrong is said with its line."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import pytest

from dycoke_cli.ask import Footage
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.question_files import read_questions
from dycoke_cli.video.sampling import Sampling
from tests.runs.parts import REQUEST

JSON = """{"video": "a.mp4", "question": "What, then?", "id": "1"}

{"video": "b.mp4", "question": " Why?\\nReally? ", "id": 2}
{"video": "./a.mp4", "question": "Whö?"}
{"video": "a.mp4", "question": "Whö?"}
"""
CSV = """id,video,question
1,a.mp4,"What, then?"

2,b.mp4," Why?
Really? "
,./a.mp4,Whö?
,a.mp4,Whö?
"""


@pytest.mark.parametrize(
    "text", [JSON, CSV, CSV.replace("\n", "\r\n"), "\ufeff" + CSV, "\n" + JSON]
)
def test_both_formats(text: str) -> None:
    a, (asked,) = read_questions(text.encode(), "/clips", "questions", REQUEST)
    [video] = {ask.videos[0] for ask in a}
    assert video == Footage("/clips/a.mp4", "a.mp4", "a.mp4")
    # The same question about the same video is asked once.
    assert [(ask.id, ask.question) for ask in a] == [("1", "What, then?"), (None, "Whö?")]
    assert (asked.id, asked.question.replace("\r", "")) == ("2", "Why?\nReally?")


PARTS = """video,question,start,end
a.mp4,Why?,,
a.mp4,Why?,0:30,1:00
b.mp4,Why?,30,60
a.mp4,Who?,30,60
a.mp4,Why?,,60
"""


def test_parts_are_sampled_as_the_run_is_between_their_own_times() -> None:
    base = Sampling(frames=5, start_s=10.0)
    request = replace(REQUEST, sampling=base)
    found = [
        (group[0].videos[0].place, [ask.question for ask in group], group[0].request.sampling)
        for group in read_questions(PARTS.encode(), "/clips", "questions", request)
    ]
    half = Sampling(frames=5, start_s=30.0, end_s=60.0)
    assert found == [
        ("a.mp4", ["Why?"], base),
        ("a.mp4", ["Why?", "Who?"], half),
        ("b.mp4", ["Why?"], half),
        ("a.mp4", ["Why?"], Sampling(frames=5, start_s=10.0, end_s=60.0)),
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "q has no questions; it needs one per line"),
        ("video,question\n", "q has no questions"),
        ("video,Question,question\n", "q, line 1: there are two of 'question'; leave one out"),
        ("\nvideo,id\n", "q, line 2: 'question' is missing"),
        ("video,question\na,b\n\nx,y,z\n", "q, line 4: 3 values under 2 columns; put quotes"),
        ("video,question\na\n", "q, line 2: 'question' is empty"),
        ("video;question\na;b;c\n", "q, line 2: 3 values .*around a value with a semicolon"),
        ('video,question\na,"b\nc",d\n', "q, line 2: 3 values under 2 columns"),
        ('video,question\na,"b\nc\n', r"q, line 3: that isn't CSV"),
        ("video,question\na, \n", "q, line 2: 'question' is empty"),
        ("video,question,id\na,b,7\nc,d,7\n", "q, line 3: the id '7' is that of line 2, too"),
        ('{"video": "a", "question": "b"}\n{"video"', r"q, line 2: that isn't JSON \("),
        ('{"video": "a", "question": "b"}\n[1]', "q, line 2: one JSON object per line is needed"),
        ('{"video": "a"}', "q, line 1: 'question' is missing"),
        ('{"video": "a", "question": 3}', "q, line 1: 'question' must be a text"),
        ('{"video": ["a"], "question": "b"}', "q, line 1: a question of a batch is about one"),
        ('{"video": 1, "question": "b"}', "q, line 1: 'video' must be a text"),
        ('{"video": "", "question": "b"}', "q, line 1: 'video' is empty"),
        ('{"video": "a", "question": "b", "id": 1.5}', "q, line 1: 'id' must be a text or a whole"),
        (
            '{"video": "a", "question": "b", "id": true}',
            "q, line 1: 'id' must be a text or a whole",
        ),
        (
            '{"video": "a", "question": "b", "id": "1"}\n{"video": "c", "question": "d", "id": 1}',
            "q, line 2: the id '1' is that of line 1, too",
        ),
        ("video,question,start\na,b,soon\n", 'q, line 2: "soon" isn\'t a time'),
        ('{"video": "a", "question": "b", "end": true}', 'q, line 1: "true" isn\'t a time'),
        ('{"video": "a", "question": "b", "end": -1}', 'q, line 1: "-1" isn\'t a time'),
        (
            "video,question,start,end\na,b,1:30,90\n",
            r"q, line 2: end_s must be later than start_s \(90 s\), not 90 s",
        ),
        ('{"video":' + "[" * 100_000, "q, line 1: that is nested too deeply"),
        ("[" * 100_000, "q is a JSON array; write one object per line, without brackets"),
        ('{"video": "a", "question": "b\\ud800"}', "q, line 1: 'question' has half a character"),
        (
            '{"video": "a", "question": "b", "id": "\\udcff"}',
            "q, line 1: 'id' has half a character",
        ),
        ('{"video": "\\ud800", "question": "b"}', "q, line 1: no file has such a 'video' name"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(content: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=rf"\A{sentence}") as error:
        read_questions(content.encode(), "", "q", REQUEST)
    assert not re.search(r"\n", str(error.value))


def test_a_video_whose_name_is_not_utf8() -> None:
    line = b'{"video": "caf\\udce9.mp4", "question": "b"}'
    ((ask,),) = read_questions(line, "", "q", REQUEST)
    assert os.fsencode(ask.videos[0].path) == b"caf\xe9.mp4"


QUESTION = ("a.mp4", "Où, donc ?", 90.0, 120.5)
SAVED = [
    pytest.param(
        "video;question;start;end\r\na.mp4;Où, donc ?;00:01:30;120.5;;\r\n", id="semicolons"
    ),
    pytest.param(
        'notes,end,start,Question ,,video,\nx,120.5,90,"Où, donc ?",,a.mp4\n,,,,,,\n', id="columns"
    ),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("text", SAVED)
def test_a_table_as_spreadsheet_programs_save_it(text: str, encoding: str) -> None:
    notes: list[str] = []
    ((ask,),) = read_questions(text.encode(encoding), "", "q", REQUEST, notes.append)
    assert ask.part_s is not None
    assert (ask.videos[0].path, ask.question, *ask.part_s) == QUESTION
    ignored = ['q: ignored "notes"; read video, question, id, start, end']
    assert notes == ignored * ("notes" in text)


def test_an_unknown_key_is_ignored_and_named() -> None:
    notes: list[str] = []
    text = '{"video": "a", "question": "b", "answer": "c", "Id": 7}\n'
    ((ask,),) = read_questions(text.encode(), "", "q", REQUEST, notes.append)
    assert ask.id == "7"
    assert notes == ['q: ignored "answer"; read video, question, id, start, end']


JSON_ROWS = b'{"video": "a", "question": "caf"}\n{"video": "a", "question": "caf\xe9"}\n'
TABLE = b"video,question\na,caf\xe9\n"  # in Windows-1252


@pytest.mark.parametrize("content", [JSON_ROWS, TABLE, TABLE.replace(b"\n", b"\0\n")])
def test_other_bytes_than_text(content: bytes) -> None:
    with pytest.raises(UsageError, match="q, line 2: that isn't UTF-8 text"):
        read_questions(content, "", "q", REQUEST)


def test_a_git_lfs_pointer() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    with pytest.raises(UsageError, match=r"^--questions a.csv is only a Git LFS pointer"):
        read_questions(pointer, "", "--questions a.csv", REQUEST)
