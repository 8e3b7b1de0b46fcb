"""The changes of CONTRIBUTING.md's table, made in a copy of the repository by their trials."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests import warm

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COPIED = ("src", "tests", "benchmarks", "docs", "sample_videos", "pyproject.toml", "README.md")
TRIALS = Path(__file__).with_name("trials")
CHANGES = dict(re.findall(r"^\| \[(.+?)\]\(tests/trials/(\w+)\.diff\) \|", PAGE, re.MULTILINE))
"""A row of "What a change touches", and the trial that makes it."""
TESTS = (
    "tests/compression/methods/test_stride.py", "tests/compression/test_methods.py",
    "tests/cli/commands/test_methods.py", "tests/test_request.py", "tests/cli/flags/test_flags.py",
    "tests/cli/commands/test_schema.py", "tests/cli/test_json.py", "tests/runs/test_tables.py",
    "tests/runs/remote/test_served_model.py", "tests/cli/commands/test_ask_server.py",
    "tests/evaluation/test_yesno.py", "tests/evaluation/test_datasets.py",
    "tests/cli/commands/test_eval_benchmarks.py",
)  # fmt: skip
"""What such changes have to leave green, beside their own tests."""
RUN_ALL = """
import json, sys
from tests.cli.harness import run_here
print(json.dumps([vars(run_here(*line)) for line in json.load(sys.stdin)]))
"""


def files_of(change: str) -> int:
    """How many files it touches, by the table."""
    (count,) = re.findall(rf"^\| \[{re.escape(change)}\]\(\S+\) \| (\d+) \|", PAGE, re.MULTILINE)
    return int(count)


def make_change(trial: str, copy: Path) -> set[str]:
    """Write the new files of a trial, change others by its lines, and return the paths of both."""
    touched = set()
    diff = (TRIALS / f"{trial}.diff").read_text("utf-8")
    for change in re.split(r"^\+\+\+ ", diff, flags=re.MULTILINE)[1:]:
        name, _, hunks = change.partition("\n")
        path = copy / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for hunk in hunks.split("@@\n")[1:]:
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] != "+")
            after = "".join(line[1:] for line in lines if line[0] != "-")
            assert text.count(before) == 1, f"{path} has these lines not once:\n{before}"
            text = text.replace(before, after)
        path.write_text(text, encoding="utf-8")
        touched.add(name)
    return touched


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A copy of the repository with all changes made, and how many files each has touched."""
    copy = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "data")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy)
    return copy, {change: len(make_change(trial, copy)) for change, trial in CHANGES.items()}


def python(copy: Path, *arguments: str, stdin: str = "") -> str:
    """What Python prints in the copy, with the package that is there."""
    done = warm.run(
        [sys.executable, *arguments], cwd=copy, env={**os.environ, "PYTHONPATH": str(copy / "src")},
        input=stdin, capture_output=True, text=True, fresh=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_change_touches_as_many_files_as_the_table_says(changed) -> None:
    _, touched = changed
    assert touched == {change: files_of(change) for change in CHANGES}
    assert {*CHANGES.values()} == {path.stem for path in TRIALS.iterdir()}


@pytest.mark.extended
def test_what_is_there_stays_green(changed) -> None:
    copy, _ = changed
    python(copy, "-m", "benchmarks.cli_page")  # `make docs`
    python(copy, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *TESTS)


@pytest.mark.extended
def test_what_the_page_says_of_them_is_so(changed) -> None:
    copy, _ = changed
    asked = ["ask", "sample_videos/move.mp4", "What does the blue star do?"]
    refusals = re.findall(r"`(--\S+) (\S+)` is refused\s+\(\"(.+?)\"\)", PAGE)
    assert len(refusals) == 2
    commands = [
        [*asked, "--method", "stride:stride=2", "--json"],
        [*asked, "--temperature", "1", "--top-p", "0.5", "--json"],
        ["eval", "shapes", "--methods", "none,stride:stride=2", "--limit", "1", "--json"],
        *([*asked, *flag] for *flag, _ in refusals),
    ]
    outcomes = json.loads(python(copy, "-c", RUN_ALL, stdin=json.dumps(commands)))
    strided, drawn, table, *refused = outcomes
    answer = json.loads(strided["out"])
    assert answer["method"] == {"name": "stride", "stride": 2}
    tokens = answer["tokens"]
    assert tokens["visual_kept"] == tokens["visual"] / 2
    assert tokens["uncompressed"] == tokens["visual"] + tokens["text"]
    assert drawn["code"] == 0
    assert [row["parameters"] for row in json.loads(table["out"])["rows"]] == [{}, {"stride": 2}]
    for outcome, (*_, sentence) in zip(refused, refusals, strict=True):
        assert outcome["code"] == 2
        assert sentence in " ".join(outcome["err"].split())
