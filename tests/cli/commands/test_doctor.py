"""`dycoke doctor`: what it finds, and the releases of packages that it knows."""

from __future__ import annotations

import os
import platform
import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
import torch
import transformers
from packaging.requirements import Requirement

from dycoke_cli.cli.commands import doctor
from dycoke_cli.kernels import processor
from dycoke_cli.storage import cache_folder as cache
from tests.cli.harness import run_here
from tests.documents import valid


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")


def test_versions_and_processors() -> None:
    run = run_here("doctor", "--json")
    assert (run.code, run.err) == (0, "")
    valid(run.object, "doctor")
    assert run.object["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert run.object["packages"]["transformers"] == transformers.__version__
    assert run.object["python"] == platform.python_version()
    assert run.object["cpus"]["threads"] == torch.get_num_threads()
    if hasattr(os, "sched_getaffinity"):
        assert {*run.object["cpus"]["affinity"]} == os.sched_getaffinity(0)


@pytest.mark.parametrize(
    ("means", "shown"),
    [((), "none"), (("landlock",), "Landlock"), (("landlock", "seccomp"), "seccomp and Landlock")],
)
def test_what_isolates_a_decoder(
    means: tuple[str, ...], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dycoke_cli.video.decoder.sandbox", lambda: means)
    document = run_here("doctor", "--json").object
    valid(document, "doctor")
    assert document["sandbox"] == [*means]
    assert document["memory_limited"]
    row = next(line for line in run_here("doctor").out.splitlines() if line.startswith("Sandbox"))
    assert row.split(maxsplit=1)[1].strip() == f"{shown}, around the process that reads a video"


def test_without_proc_the_memory_of_a_decoder_isnt_limited(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("dycoke_cli.processes.sandbox._SIZE", str(tmp_path / "{}"))
    assert run_here("doctor", "--json").object["memory_limited"] is False
    row = next(line for line in run_here("doctor").out.splitlines() if line.startswith("Sandbox"))
    assert row.endswith("its memory isn't limited, as on Linux by /proc")


def test_the_last_line_says_whether_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_here("doctor")
    assert (run.out.splitlines()[-1], run_here("doctor", "--json").object["to_do"]) == (
        "ready: yes",
        [],
    )
    monkeypatch.setenv("DYCOKE_MODEL", "llava-onevision-0.5b")
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setattr("dycoke_cli.cli.commands.doctor._PACKAGES", ("torch", "nonesuch"))
    *_, ready, package, model = run_here("doctor").out.splitlines()
    assert ready == "ready: no"
    assert package.startswith("- nonesuch isn't installed: ")
    assert package.endswith("install --upgrade nonesuch")
    assert model == (
        "- llava-onevision-0.5b, the default model, isn't on this machine: "
        "dycoke models pull llava-onevision-0.5b"
    )
    monkeypatch.setenv(cache.ENVIRONMENT, str(file / "cache"))
    (_, to_do) = run_here("doctor", "--json").object["to_do"]
    assert to_do == f"{file} is a file, not a folder; set DYCOKE_CACHE to a folder that can"


def test_nothing_is_written(tmp_path: Path) -> None:
    rows = {line[:13].strip(): line[13:].strip() for line in run_here("doctor").out.splitlines()}
    assert rows["torch"] == torch.__version__.partition("+")[0]
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("has", "dtype", "row"),
    [
        (
            ["avx2"],
            "float32",
            "float32 on the CPU, where it fits into free memory (no fast bfloat16",
        ),
        (["avx2", "avx512_bf16"], "bfloat16", "bfloat16 on the CPU"),
        ([], "bfloat16", "bfloat16 on the CPU"),
    ],
)
def test_the_dtype_that_the_processor_gets(
    has: list[str], dtype: str, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "instructions", lambda: has)
    assert run_here("doctor", "--json").object["cpu_dtype"] == dtype
    (line,) = [x for x in run_here("doctor").out.splitlines() if x.startswith("Weight dtype")]
    assert line.removeprefix("Weight dtype").strip().startswith(row)


ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEPENDENCIES = {Requirement(text).name for text in PROJECT["dependencies"]}


def test_a_release_that_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = next(
        str(r.specifier)
        for r in map(Requirement, requires("dycoke-cli") or ())
        if r.name == "torch"
    )
    monkeypatch.setattr(doctor, "version", lambda name: "2.7.1" if name == "torch" else "99")
    assert f"torch 2.7.1 isn't supported ({bound}): " in " ".join(doctor.to_do())


def test_an_old_release_that_an_extra_alone_needs_is_no_hindrance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """setuptools 65, as `python -m venv` brings it: only building a wheel needs a newer one."""
    needed = ["setuptools>=78.1.1; extra == 'dev'", "numpy>=2"]
    monkeypatch.setattr(doctor, "requires", lambda name: needed)
    monkeypatch.setattr(doctor, "version", lambda name: "1")
    assert [line.partition(" isn't")[0] for line in doctor.to_do()] == ["numpy 1"]


def test_every_dependency_is_in_the_one_list_that_make_installs() -> None:
    extras = PROJECT["optional-dependencies"]
    optional = {Requirement(text).name for name in extras if name != "dev" for text in extras[name]}
    lines = (ROOT / "src" / "dycoke_cli" / "tested.txt").read_text(encoding="utf-8").splitlines()
    tested = {Requirement(line).name for line in lines if line and not line.startswith("#")}
    assert tested >= DEPENDENCIES | optional
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "--constraint src/dycoke_cli/tested.txt\n" in constraints
    pinned = re.findall(r"^([\w.-]+)==", constraints, re.MULTILINE)
    assert not set(pinned) & tested
