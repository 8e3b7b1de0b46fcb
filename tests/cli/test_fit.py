"""`--fit` on the command line: `probe`, `ask`, `batch`, `--estimate`, and what is refused."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dycoke_cli.cli.flags.fit_flags import budget_of
from dycoke_cli.engine.memory import kernel_rates, model_facts
from dycoke_cli.engine.memory.fit import Budget
from dycoke_cli.errors import UsageError
from dycoke_cli.kernels import choice
from dycoke_cli.models import free_memory
from dycoke_cli.runs import fitting
from tests.cli.harness import CLIP, ROOT, run_here
from tests.pages import section

WORDS = ("What", "does", "the", "blue", "star", "do?")
QUESTION = "What does the blue star do?"


@pytest.mark.parametrize(
    ("given", "budget"),
    [
        (None, None),
        ([], None),
        (["8GB"], Budget(8 * 10**9)),
        (["24 GiB"], Budget(24 * 2**30)),
        (["20s"], Budget(None, 20)),
        (["1.5min"], Budget(None, 90)),
        (["8GB,20s"], Budget(8 * 10**9, 20)),
        (["20s", "8GB"], Budget(8 * 10**9, 20)),
    ],
)
def test_budgets(given: list[str] | None, budget: Budget | None) -> None:
    assert budget_of(given) == budget


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["8"], "such as 8GB,20s; not '8'"),
        (["0s"], "not '0s'"),
        (["8GB,"], "not ''"),
        (["-5s"], "not '-5s'"),
        (["20s", "30s"], "one size and one time"),
        (["8GB,9GB"], "one size and one time"),
    ],
)
def test_what_is_no_budget(given: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        budget_of(given)


@pytest.mark.slow  # it times kernels
def test_probe_says_the_choice_without_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "free_main_memory", lambda: 10**11)
    monkeypatch.setattr(free_memory, "_gpus", lambda: ())
    arguments = ("probe", CLIP, "--model", "llava-onevision-7b", "--fit", "22GB")
    fit = run_here(*arguments, "--json").object["fit"]
    assert fit["asked"] == fit["frames"] == 32
    assert fit["bytes"] <= 22 * 10**9
    assert fit["dtype"] == "bfloat16"
    assert fit["reason"].startswith("--fit 22GB: 32 frames, baseline, bfloat16 weights (")
    assert "fit" not in run_here(*arguments[:-2], "--json").object
    text = " ".join(run_here(*arguments).out.split())
    assert f"Fit {fit['reason']}" in text


def test_an_estimate_of_the_choice() -> None:
    ask = ("ask", CLIP, "--model", "llava-onevision-7b", "--device", "cuda", "--estimate")
    run = run_here(*ask, "--memory", "80GB", "--fit", "12GB", "--json")
    assert run.object["dtype"] == "int8"
    assert run.object["bytes"]["peak"] + run.object["bytes"]["reserve"] <= 12 * 10**9
    assert "--fit 12GB: 32 frames, baseline, int8 weights" in " ".join(run.err.split())


def test_an_estimate_names_flags_that_fit_together() -> None:
    """7B of 4 bits, in 8 GB of memory, was never proposed: only a model 14 times smaller."""
    ask = ("ask", CLIP, "--model", "llava-onevision-7b", "--device", "cuda", "--estimate")
    fits = run_here(*ask, "--memory", "7.7GB", "--json").object
    first, other = fits["would_fit"]
    assert first.startswith("--quantize int4 --frames ")
    assert other == "--model llava-onevision-0.5b"
    again = run_here(*ask, "--memory", "7.7GB", *first.split(), "--json").object
    assert again["fits"] == "gpu"
    more = [*first.split()[:-1], str(int(first.split()[-1]) + 4)]
    assert run_here(*ask, "--memory", "7.7GB", *more, "--json").object["fits"] == "no"


def test_the_reserve_is_named() -> None:
    ask = ("ask", CLIP, "--model", "llava-onevision-7b", "--device", "cuda", "--estimate")
    said = " ".join(run_here(*ask, "--memory", "17GB").out.split())
    found = re.search(r"([\d.]+) GB and a reserve of ([\d.]+) GB don't fit the 17 GB", said)
    assert found is not None
    assert float(found[1]) < 17 < float(found[1]) + float(found[2])


def test_an_answer_within_a_budget() -> None:
    run = run_here("ask", CLIP, QUESTION, "--fit", "900GB", "--json", "--no-server")
    assert run.code == 0
    assert run.object["frames"]["count"] == 32
    assert run.object["method"]["name"] == "none"
    assert "--fit 900GB: 32 frames, baseline" in " ".join(run.err.split())


def test_what_cannot_be_kept() -> None:
    run = run_here("ask", CLIP, QUESTION, "--fit", "100MB", "--no-server")
    assert (run.code, run.out) == (2, "")
    said = " ".join(run.err.split())
    assert "--fit 0.1GB is too little for mini: use --fit " in said
    size = said.partition("use --fit ")[2].partition(" ")[0]
    assert run_here("probe", CLIP, "--fit", size).code == 0


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--compare"], "leave out --compare"),
        (["--subtitles", "auto"], "leave out --subtitles"),
        (["--audio"], "leave out --audio"),
        (["--server", "http://127.0.0.1:1"], "leave out --server"),
        (["--fit", "1GB"], "one size and one time"),
    ],
)
def test_flags_that_exclude_it(flags: list[str], sentence: str) -> None:
    run = run_here("ask", CLIP, QUESTION, "--fit", "8GB", *flags)
    assert (run.code, run.out) == (2, "")
    assert sentence in " ".join(run.err.split())


def test_stdin_cannot_be_opened_twice() -> None:
    run = run_here("ask", "-", QUESTION, "--fit", "8GB", stdin=CLIP.read_bytes())
    assert run.code == 2
    assert "name a file" in run.err


@pytest.mark.parametrize(
    "flags",
    [["--workers", "2"], ["--batch-size", "4"], ["--estimate"], ["--server", "http://127.0.0.1:1"]],
)
def test_a_batch_is_planned_one_answer_at_a_time(flags: list[str]) -> None:
    run = run_here("batch", CLIP, QUESTION, "--fit", "8GB", *flags)
    assert (run.code, run.out) == (2, "")
    assert f"leave out {flags[0]}" in " ".join(run.err.split())


PAGE = section("models.md", "Memory")
TYPED = re.findall(r"^\$ dycoke (.*--fit .*)$", PAGE, re.MULTILINE)


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("command", TYPED, ids=lambda command: command.split()[0])
def test_what_the_page_says_to_type(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The kernels and stages of the bundled model are timed, however busy the machine is."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path))
    monkeypatch.setattr(free_memory, "free_main_memory", lambda: 10**11)
    for module in (choice, kernel_rates, model_facts, fitting):
        monkeypatch.setattr(module, "is_overloaded", lambda: False)
    run = run_here(*shlex.split(command))
    assert run.code == 0, run.err
    assert "--fit " in run.out + run.err
    assert "wasn't timed" not in run.err


def test_the_page_has_commands() -> None:
    assert [command.split()[0] for command in TYPED] == ["probe", "ask"]


@pytest.mark.slow
def test_a_batch_within_a_budget(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    run = run_here(
        "batch", CLIP, broken, QUESTION, "--frames", "8", "--fit", "900GB", "--no-server"
    )
    assert run.code == 1
    answered = [one for one in run.objects if "error" not in one]
    assert [one["frames"]["count"] for one in answered] == [8]
    assert answered[0]["method"]["name"] == "none"
