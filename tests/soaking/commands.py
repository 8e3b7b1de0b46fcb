"""The commands that are killed at random moments, and what each has left when it has ended."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hub import Hub, Repo
from tests.soaking.rendered import QUESTION, make_clips

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "src" / "dycoke_cli" / "models" / "mini" / "checkpoint"
REPO = "me/mine"
# Small, and the same arithmetic in each run: in bfloat16, the default on some processors, a near
# tie is settled by what else is in the batch.
_SMALL = (
    *("--frames", "2", "--max-tokens", "3"),
    *("--kernels", "stock", "--dtype", "float32", "--quiet"),
)
_WORKERS = ("--workers", "2")
_CLIPS = 24
# The hub client's notes of what it has asked, a folder that torch makes when it is imported, and
# files that are named after the folder of captions and the path of a table.
_NOT_COMPARED = re.compile(r"home/|tmp/torchinductor_|cache/made/")


@dataclass(frozen=True)
class Command:
    """A command that is killed."""

    name: str  # of it
    arguments: tuple[str, ...]  # behind `dycoke`; paths are those of the current folder
    # what it has left in a folder, without times. Raises ValueError where a line or a file isn't
    # whole.
    results: Callable[[Path], Any]
    code: int = 0  # that it ends with
    journal: str | None = None  # the file of lines that it appends to
    environment: dict[str, str] = field(default_factory=dict)  # beside that of all

    @property
    def line(self) -> list[str]:
        """To start it."""
        return [sys.executable, "-m", "dycoke_cli", *self.arguments]

    def environment_in(self, folder: Path) -> dict[str, str]:
        """That of a process; whatever it writes is in the folder."""
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        own = {
            "DYCOKE_CACHE": str(folder / "cache"),
            "DYCOKE_RUNTIME": str(folder / "runtime"),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder / "tmp"),
        }
        return {**os.environ, **own, **self.environment}

    def lines(self, folder: Path) -> list[bytes]:
        """Whole lines of the journal."""
        path = folder / (self.journal or "")
        return path.read_bytes().split(b"\n")[:-1] if path.is_file() else []


def files_in(folder: Path) -> set[str]:
    """Paths of all files and folders, so that nothing is left that an undisturbed run doesn't."""
    paths = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {path for path in paths if not _NOT_COMPARED.match(f"{path}/")}


def commands(made: Path, hub: Hub) -> dict[str, Command]:
    """All of them."""
    clips = make_clips(made / "clips", _CLIPS)
    batch = ("batch", str(clips), QUESTION, "--out", "batch.jsonl", "--batch-size", "4")
    caption = ("caption", str(clips), "--prompt", QUESTION, "--out-dir", "captions")
    evaluation = ("eval", "shapes", "--limit", "2", "--methods", "none,dycoke", "--out", "eval")
    found = [
        Command(
            "batch", (*batch, "--retry-failed", *_WORKERS, *_SMALL), _answers, journal="batch.jsonl"
        ),
        Command("caption", (*caption, *_SMALL), _captions),
        Command("eval", (*evaluation, *_WORKERS, *_SMALL), _scored, journal="eval/answers.jsonl"),
        Command("pull", ("models", "pull", REPO), _pulled, environment=hub.environment("home")),
    ]
    return {command.name: command for command in found}


def repositories() -> dict[str, Repo]:
    """A model of several files, the weights a larger one."""
    return {REPO: Repo({path.name: path.read_bytes() for path in CHECKPOINT.iterdir()})}


def _objects(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        raise ValueError(f"{path} ends in half a line")
    return [json.loads(line) for line in content.splitlines()]


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{len(pairs) - len(found)} things are there twice")
    return found


def _answers(folder: Path) -> Any:
    """Answers and errors of `batch`, by key."""
    lines = _objects(folder / "batch.jsonl")
    said = [(line["key"], line.get("answer") or line["error"]["message"]) for line in lines]
    return _once(said)


def _captions(folder: Path) -> Any:
    """Texts of `caption`, by name."""
    texts = {path.name: path.read_text("utf-8") for path in (folder / "captions").iterdir()}
    if torn := [name for name, text in texts.items() if not text.endswith("\n")]:
        raise ValueError(f"{torn} end in half a line")
    return texts


def _scored(folder: Path) -> Any:
    """Answers of `eval`, by setup and question, and its record without the date."""
    lines = _objects(folder / "eval" / "answers.jsonl")
    answers = [line for line in lines if "about" not in line]
    setups = [line["setup"] for line in lines if "about" in line]
    said = _once([((line["setup"], line["item"]), line["said"]) for line in answers])
    record = [{**line, "date": ""} for line in _objects(folder / "eval" / "run.jsonl")]
    return said, _once([(setup, "") for setup in setups]), record


def _pulled(folder: Path) -> Any:
    """Digests of the files of a model in the hub client's cache, by name."""
    (snapshot,) = (folder / "home" / "hub").glob("models--*/snapshots/*")
    parts = [path.name for path in (folder / "home").rglob("*.incomplete")]
    if parts:
        raise ValueError(f"parts of files are left: {parts}")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in snapshot.iterdir()}
