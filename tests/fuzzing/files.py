"""Files of our own that were damaged, or put there by somebody else: caches, journals, records."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dycoke_cli.engine.vision import Encoded, VisualCache
from dycoke_cli.errors import OutputError
from dycoke_cli.evaluation.prediction import open_answers
from dycoke_cli.evaluation.run_record import FILE as RECORD
from dycoke_cli.evaluation.run_record import check_folder, read_record
from dycoke_cli.evaluation.scoring.judge import open_verdicts
from dycoke_cli.runs.batch_journal import open_results
from dycoke_cli.runs.journal import Journal
from dycoke_cli.storage.cache_folder import CacheFiles
from tests.evaluation.test_answers import write_nothing
from tests.fuzzing.mutators import bytes_of, json_lines_of
from tests.fuzzing.subject import Subject
from tests.runs.test_journal import add_answer, add_verdict

KEY = "0" * 40
ENCODED = Encoded(torch.arange(24, dtype=torch.float32).view(2, 3, 4), (torch.ones(2, 3),))
RESULT = (
    '{"schema": "dycoke.answer/1", "key": "%032x", "id": null, "video": "a.mp4", '
    '"question": "What?", "error": {"code": "video_unreadable", "message": "it is torn"}}\n'
)

Opened = Callable[[Path], AbstractContextManager[Any]]


def _visual(folder: Path) -> VisualCache:
    return VisualCache(CacheFiles(folder, ".safetensors", 10**9))


def _encoded() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        _visual(Path(folder)).put(KEY, ENCODED)
        return [Path(folder, f"{KEY}.safetensors").read_bytes()]


def _take_encoded(content: bytes, folder: Path) -> object:
    """It is what was kept, to the bit, or it isn't there."""
    (folder / f"{KEY}.safetensors").write_bytes(content)
    found = _visual(folder).get(KEY, torch.device("cpu"))
    if found is not None:
        assert torch.equal(found.embeddings, ENCODED.embeddings), "other embeddings"
        assert len(found.deepstack) == 1, "more or fewer of DeepStack"
        assert torch.equal(found.deepstack[0], ENCODED.deepstack[0]), "others of DeepStack"
    return found


def _journal(opened: Opened, add: Callable[[Any, int], None]) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        with opened(Path(folder)) as journal:
            for number in range(4):
                add(journal, number)
        return [journal.path.read_bytes()]


def _resume(
    opened: Opened, add: Callable[[Any, int], None], name: str, content: bytes, folder: Path
) -> object:
    """It goes on from whole lines, or the file stays as it is, whoever wrote it."""
    path = folder / name
    path.write_bytes(content)
    try:
        with opened(folder) as journal:
            assert isinstance(journal, Journal)
            add(journal, 9)
            _check_lines(path)
    except OutputError:
        assert path.read_bytes() == content, "a file that was refused has changed"
        raise
    _check_lines(path)
    with opened(folder) as again:
        assert again.damaged == 0, "what was repaired is damaged"
    return None


def _check_lines(path: Path) -> None:
    written = path.read_bytes()
    assert written.endswith(b"\n"), "half a line"


def _record() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        write_nothing(Path(folder))
        return [Path(folder, RECORD).read_bytes()]


def _take_record(content: bytes, folder: Path) -> object:
    (folder / RECORD).write_bytes(content)
    check_folder(folder)
    return read_record(folder)


JOURNALS: dict[str, tuple[Opened, Callable[[Any, int], None], str]] = {
    "results of batch": (
        lambda folder: open_results(folder / "results.jsonl"),
        lambda results, number: results.write((RESULT % number).encode()), "results.jsonl",
    ),
    "answers of eval": (open_answers, add_answer, "answers.jsonl"),
    "verdicts of a judge": (open_verdicts, add_verdict, "verdicts.jsonl"),
}  # fmt: skip

SUBJECTS = [
    Subject("encoded videos", "caches", 2000, (), _encoded, bytes_of, _take_encoded),
    *(
        Subject(
            name, "journals", 1750, (), partial(_journal, opened, add), json_lines_of,
            partial(_resume, opened, add, file),
        )
        for name, (opened, add, file) in JOURNALS.items()
    ),
    Subject(
        "record of eval", "journals", 1250, (), _record,
        json_lines_of, _take_record,
    ),
]  # fmt: skip
