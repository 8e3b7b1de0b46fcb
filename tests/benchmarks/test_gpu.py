"""`make gpu`, rehearsed on the CPU with the bundled model: what it runs, keeps and writes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu import CUDA_TESTS, Plan, run
from benchmarks.page import ROOT
from benchmarks.speed.contestants import ON_GPU
from benchmarks.speed.journal import Heat, Journal
from benchmarks.speed.measured import Measured
from tests.imports import python_path

MEASURED = Measured(0.0, 1.0, 2.0, 0.01, 3.3, 10_000_000, 128, 10_000_000, 2, 90_000_000, 4.0)
PAGES = ("speed.md", "models.md")
# Of what `pip install dycoke-cli` brings, all that transformers can do without, and pytest.
ABSENT = ("av", "typer", "rich", "pytest", "psutil", "matplotlib", "skimage", "ray", "accelerate")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    for page in PAGES:
        shutil.copy(ROOT / "docs" / page, tmp_path)
    return Plan(
        model="mini",
        device="cpu",
        dtype="float32",
        frames=(5,),
        runs=2,
        tokens=2,
        tests=(file_of_test(tmp_path, "pass"),),
        state=tmp_path / "state",
        pages=tmp_path,
    )


@pytest.fixture(autouse=True)
def without_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine on which neither vLLM nor the decoder is installed, also where they are."""
    monkeypatch.setattr(gpu, "absent", lambda *packages: packages[0])


def file_of_test(folder: Path, does: str) -> str:
    """A file with one test."""
    path = folder / f"test_{len(list(folder.iterdir()))}.py"
    path.write_text(f"import pytest\n\ndef test_it():\n    {does}\n", encoding="utf-8")
    return str(path)


def journal(plan: Plan) -> list[str]:
    return (plan.state / "speed.jsonl").read_text(encoding="utf-8").splitlines()


def texts(plan: Plan) -> list[str]:
    return [(plan.pages / page).read_text(encoding="utf-8") for page in PAGES]


@pytest.mark.extended
def test_all_stages_run_and_write_both_pages_and_none_is_run_again(
    plan: Plan, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(plan) == []
    assert len(journal(plan)) == 2 * len(ON_GPU)
    for text, column in zip(texts(plan), ("vision, s", "peak with weights, MB"), strict=True):
        assert "Not measured on a GPU yet" not in text
        assert text.count("| 5 frames, 2 runs |") == 1
        assert column in text
        assert all(f"| {one.name} |" in text for one in ON_GPU)
        assert f"{plan.where} CUDA tests: 1 passed, 0 failed, 0 skipped." in text
    capfd.readouterr()
    assert run(plan) == []
    assert capfd.readouterr().err.splitlines() == [
        "tests: done before",
        "speed-5: done before",
        f"vllm: skipped, for {sys.executable} has no vllm (docs/serve.md)",
    ]


@pytest.mark.extended
@pytest.mark.parametrize(
    ("does", "summary"),
    [("assert False", "0 passed, 1 failed, 0 skipped"), ("pytest.skip('no')", "0 passed, 0 f")],
)
def test_tests_that_fail_or_that_dont_run_arent_done(
    plan: Plan, tmp_path: Path, does: str, summary: str
) -> None:
    failing = replace(plan, tests=(file_of_test(tmp_path, does),))
    # All that the speed stage measures is there.
    kept = Journal(plan.state / "speed.jsonl")
    heat = Heat(plan.model, "gpu", plan.frames[0], plan.tokens, plan.where, plan.dtype)
    for one in ON_GPU * plan.runs:
        kept.add(heat, one, MEASURED)
    assert run(failing) == ["tests: failed with exit code 1"]
    assert f"CUDA tests: {summary}" in texts(plan)[0]
    # They are run again, and the newest word counts.
    assert run(plan) == []
    assert "CUDA tests: 1 passed, 0 failed" in texts(plan)[0]
    assert gpu._done(plan, "tests")
    assert not gpu._done(replace(plan, commit="other"), "tests")


@pytest.mark.parametrize(
    ("does", "failure"),
    [
        ("", ""),
        ("sys.exit(3)", "failed with exit code 3"),
        ("time.sleep(60)", "stopped after 2 s; run it again, and it resumes"),
    ],
)
def test_a_program_of_its_own_runs_where_it_can(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, does: str, failure: str
) -> None:
    """Something else is run in its place, with its arguments."""
    monkeypatch.setattr(gpu, "absent", lambda *_: None)
    program = (
        "import pathlib, sys, time\n"
        "out = pathlib.Path(sys.argv[-1])\n"
        "out.mkdir(parents=True, exist_ok=True)\n"
        "(out / 'arguments').write_text(' '.join(sys.argv[1:]))\n"
    )
    started = subprocess.Popen

    def popen(command: list[str], **options: object) -> object:
        if command[1] == "-m":  # and not git
            command = [command[0], "-c", program + does, *command[2:]]
        return started(command, **options)

    monkeypatch.setattr(gpu.subprocess, "Popen", popen)
    stage, here = "vllm", replace(plan, seconds=2.0)
    assert run(here, [stage]) == ([f"{stage}: {failure}"] if failure else [])
    folder = plan.folder(stage)
    given = "benchmarks.serving --server vllm --gpu --model llava-onevision-7b --write --out"
    assert (folder / "arguments").read_text() == f"{given} {folder}"
    assert gpu._done(plan, stage) == (not failure)
    assert not gpu._done(replace(plan, commit="other"), stage)


def test_the_tests_of_the_first_stage_are_all_that_need_cuda() -> None:
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "from tests.cuda import" in path.read_text(encoding="utf-8")
    }
    assert marked - {"tests/benchmarks/test_gpu.py"} == set(CUDA_TESTS)


ABSENCE = f"""
import importlib.machinery, sys
class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.partition(".")[0] in {ABSENT}
        return None if absent else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Without
"""
REHEARSAL = """
import sys
from pathlib import Path
from benchmarks.gpu import Plan, run
if __name__ == "__main__":
    here = Path(sys.argv[1])
    plan = Plan(model="mini", device="cpu", dtype="float32", frames=(5,), runs=1, tokens=2,
                state=here / "state", pages=here)
    print(run(plan))
"""


@pytest.mark.extended
def test_it_needs_no_package_that_transformers_does_without(plan: Plan) -> None:
    """Neither the decoder nor what the command line is made of is on a machine with a GPU."""
    (plan.pages / "sitecustomize.py").write_text(ABSENCE, encoding="utf-8")
    (plan.pages / "rehearsal.py").write_text(REHEARSAL, encoding="utf-8")
    path = python_path(plan.pages)
    command = [sys.executable, str(plan.pages / "rehearsal.py"), str(plan.pages)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "tests: needs pytest, which isn't installed" in done.stdout.splitlines()[-1]
    assert all("| 5 frames, 1 run |" in text for text in texts(plan))
