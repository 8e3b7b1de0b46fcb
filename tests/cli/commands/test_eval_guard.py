"""`--guard` of `dycoke eval`: a row whose answers come by several budgets, on the bundled model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dycoke_cli.evaluation.answers import FILE
from dycoke_cli.evaluation.datasets import DATASETS
from dycoke_cli.guard.bounds import Attempt
from dycoke_cli.guard.tuned import store
from dycoke_cli.models.settings import ENVIRONMENT
from dycoke_cli.param import key_part
from dycoke_cli.video import Sampling
from tests.cli.harness import Outcome, run_here
from tests.documents import valid
from tests.evaluation.samples import WHERE
from tests.guard.tunings import SURE, tuning_with

SMALL = ("--split", "validation", "--limit", "2", "--frames", "2", "--device", "cpu")
SAMPLING = key_part(Sampling(frames=2))

STRICT = (((Attempt(0.99999, same=False), Attempt(0.999999, same=True)),),) * 80
"""Next to no answer is certain enough but one of all tokens."""


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "settings" / "settings.json"))
    monkeypatch.setitem(DATASETS, "samples", WHERE)


def run(folder: Path, *flags: str) -> Outcome:
    return run_here("eval", "samples", *SMALL, "--out", folder, *flags)


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


@pytest.mark.parametrize("batch_size", ["1", "2"])
def test_a_row_counts_every_prefill_and_says_which_budgets_answered(
    tmp_path: Path, batch_size: str
) -> None:
    store(tuning_with(STRICT, sampling=SAMPLING))
    folder = tmp_path / "out"
    flags = ("--methods", "none", "--guard", "0.05", "--guard-mean", "0.1")
    done = run(folder, *flags, "--batch-size", batch_size, "--json")
    assert done.code == 0, done.err
    valid(done.object, "eval", "report")
    none, guard, mean = done.object["rows"]
    assert [guard["spec"], mean["spec"]] == ["guard=0.05", "guard-mean=0.1"]
    assert guard["method"] == "guard"
    assert none["guard"] is None
    assert (guard["guard"]["on_average"], mean["guard"]["on_average"]) == (False, True)
    budgets = guard["guard"]["budgets"]
    assert [each["method"].get("retain") for each in budgets] == [0.1, 0.25, None]
    assert [each["setting"].split(":")[0] for each in budgets] == ["random", "random", "none"]
    assert budgets[0]["asked"] == sum(each["kept"] for each in budgets) == guard["questions"]
    setup = next(line["setup"] for line in lines(folder) if "guard" in str(line.get("about")))
    answers = [line for line in lines(folder) if line["setup"] == setup and "about" not in line]
    assert len(answers) == guard["questions"]
    for number, budget in enumerate(budgets, 1):
        assert budget["kept"] == sum(len(line["path"]) == number for line in answers)
    shares = [sum(line["path"]) / line["visual"] for line in answers]
    assert guard["kept_before_llm"] == pytest.approx(sum(shares) / len(shares))
    # What asks for all tokens in the end has read more than all of them.
    whole = [len(line["path"]) == 3 for line in answers]
    assert whole == [share > 1 for share in shares]
    assert any(whole)
    before = (folder / FILE).read_bytes()
    text = run(folder, *flags)
    assert (folder / FILE).read_bytes() == before  # nothing was asked twice
    assert "5 % or fewer changed, with 95 % confidence" in " ".join(text.out.split())
    assert "agreement isn't accuracy" in " ".join(text.out.split())
    again = run_here("eval", "report", folder, "--json").object
    assert again["rows"][1]["guard"] == guard["guard"]
    assert "guard=0.05" in run_here("eval", "report", folder, "--format", "csv").out


def test_an_answer_is_that_of_ask(tmp_path: Path) -> None:
    store(tuning_with(STRICT, sampling=SAMPLING))
    folder = tmp_path / "out"
    assert run(folder, "--methods", "none", "--guard", "0.05", "--json").code == 0
    line = next(line for line in lines(folder) if len(line.get("path", ())) > 1)
    item = str(line["item"])
    clips = json.loads((Path("sample_videos") / "samples.json").read_text())
    file = item.rpartition("_")[0]
    question = next(clip["questions"][0]["text"] for clip in clips if clip["file"] == file)
    asked = run_here(
        "ask", f"sample_videos/{file}", question, "--frames", "2", "--guard", "0.05", "--device",
        "cpu", "--json",
    )  # fmt: skip
    assert asked.object["answer"] == line["said"]
    path = asked.object["guard"]["path"]
    assert [step["visual_kept"] for step in path] == line["path"]
    assert sum(step["visual_read_per_step"] for step in path) == pytest.approx(line["visual_read"])


def test_another_threshold_asks_anew_and_none_at_all_is_the_baseline(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    store(tuning_with(SURE, sampling=SAMPLING))
    assert run(folder, "--methods", "none", "--guard", "0.05", "--quiet").code == 0
    count = len(lines(folder))
    store(tuning_with(SURE[:40], sampling=SAMPLING))
    done = run(folder, "--methods", "none", "--guard", "0.05", "--json")
    assert len(lines(folder)) == count  # all tokens are those of the baseline
    assert any("at least 19 more videos" in each for each in done.object["warnings"])
    none, guard = done.object["rows"]
    assert guard["guard"]["threshold"] is None
    assert guard["changed"] == 0
    assert guard["accuracy"] == none["accuracy"]


def test_other_frames_are_warned_of_with_auto_too(tmp_path: Path) -> None:
    store(tuning_with(SURE))
    done = run(tmp_path / "out", "--methods", "none,auto", "--json")
    assert any("other frames: its figures" in each for each in done.object["warnings"])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--guard", "2"], "--guard must be above 0 and below 1, not 2"),
        (["--guard-mean", "0"], "--guard-mean must be above 0 and below 1, not 0"),
        (["--guard", "0.1", "--temperature", "1"], "leave --temperature out"),
        (["--guard", "0.1", "--random-weights"], "random weights can't be tuned"),
    ],
)
def test_what_is_refused(tmp_path: Path, flags: list[str], sentence: str) -> None:
    store(tuning_with(SURE))
    done = run(tmp_path / "out", *flags)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


def test_a_model_that_isnt_tuned(tmp_path: Path) -> None:
    done = run(tmp_path / "out", "--guard", "0.05")
    assert done.code == 2
    assert "mini isn't tuned yet: `dycoke tune VIDEO… --model mini`" in done.err
