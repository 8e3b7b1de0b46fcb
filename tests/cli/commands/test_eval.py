"""`dycoke eval`: what goes where, and what is refused, on the bundled model and sample clips."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dycoke_cli.errors import ModelError
from dycoke_cli.evaluation import eval_run
from dycoke_cli.evaluation.prediction import FILE, open_answers
from dycoke_cli.models.load_options import LoadOptions
from tests.cli.harness import Outcome, run_here
from tests.documents import valid
from tests.evaluation.samples import Samples, without_times

SMALL = ("--split", "validation", "--limit", "2", "--frames", "2", "--device", "cpu")


def run(folder: Path, *flags: str) -> Outcome:
    return run_here("eval", "samples", *SMALL, "--out", folder, *flags)


pytestmark = pytest.mark.usefixtures("samples")


@pytest.fixture(scope="module")
def done(samples: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all answers of two rows are."""
    folder = tmp_path_factory.mktemp("done")
    assert run(folder, "--methods", "none,dycoke,no-video", "--quiet").code == 0
    return folder


def test_table_on_stdout(done: Path) -> None:
    outcome = run(done, "--methods", "none,dycoke:merge_ratio=0.7,no-video")
    assert outcome.code == 0
    assert "\x1b" not in outcome.out + outcome.err
    table = outcome.out.splitlines()
    assert table[0] == (
        "samples, validation split: 2 questions about 2 videos, 2 frames, model mini"
    )
    assert re.search(r"^1 +none +[\d.]+ ± [\d.]+ +– +– +– +–$", outcome.out, re.MULTILINE)
    assert re.search(
        r"^2 +dycoke:merge_ratio=0.7 +[\d.]+ ± [\d.]+ +[-+][\d.]+ ± [\d.]+( +\d+){3}$",
        outcome.out,
        re.MULTILINE,
    )
    assert re.search(r"^action +2 +[\d.]+ +[\d.]+ +[\d.]+$", outcome.out, re.MULTILINE)
    # At prefill, at decode over ten layers, and in the one that is pruned.
    assert re.search(r"^2 +62 % +58 % +19 % .* frames=2 ttm=true merge_ratio", outcome.out, re.M)
    assert re.search(r"^3 +– +– +– .* frames=0 *$", outcome.out, re.M)
    assert "weights sha256:" in outcome.out
    assert FILE in outcome.out.replace("\n", "")


def test_object_has_the_keys_of_the_contract(done: Path) -> None:
    outcome = run(done, "--methods", "none,dycoke", "--json")
    assert outcome.code == 0
    valid(outcome.object, "eval", "report")
    none, dycoke = outcome.object["rows"]
    assert [none[key] for key in ("changed", "fixed", "broken", "difference")] == [None] * 4
    assert dycoke["changed"] >= dycoke["fixed"] + dycoke["broken"]
    assert dycoke["parameters"]["prune_layer"] == 9
    assert outcome.object["journal"] == str(done / FILE)


@pytest.mark.usefixtures("known_answers")
def test_a_parameter_that_is_not_used_is_not_in_the_table(tmp_path: Path) -> None:
    """And its null is in the object."""
    flags = ("--methods", "none,random:draw_seed=5", "--limit", "1")
    table = run(tmp_path, *flags)
    assert "draw_seed=5" in table.out
    assert "None" not in table.out
    assert "retain=" not in table.out
    row = run(tmp_path, *flags, "--json").object["rows"][1]
    assert row["parameters"]["retain"] is None


@pytest.mark.usefixtures("known_answers")
def test_warnings_go_to_stderr_unless_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Samples, "notes", lambda self: ["a note on its files"])
    flags = ("--methods", "none")
    loud = run(tmp_path, *flags)
    assert "Warning: a note on its files" in loud.err
    quiet = run(tmp_path, *flags, "--quiet", "--json")
    assert quiet.err == ""
    assert quiet.object["warnings"] == ["a note on its files"]


@pytest.mark.usefixtures("known_answers")
def test_answers_are_kept_in_the_cache(tmp_path: Path) -> None:
    run_here("eval", "samples", *SMALL, "--methods", "none", "--quiet")
    assert (tmp_path / "cache" / "evaluation" / "samples-validation-mini" / FILE).exists()


@pytest.mark.parametrize(
    ("arguments", "code", "word", "sentence"),
    [
        ([], 2, "usage", r"name a benchmark \(`dycoke eval --list` shows them\)"),
        (["shape"], 2, "usage", r"there is no benchmark 'shape'.*did you mean shapes\?"),
        (["samples", "--limit", "0"], 2, "usage", r"--limit must be 1 or more, not 0"),
        (["samples", "--workers", "0"], 2, "usage", r"--workers must be 1 or more, not 0"),
        (
            ["samples", "--workers", "2", "--engine", "ray"],
            2,
            "usage",
            r"--engine ray and --workers exc",
        ),
        (["samples", "--split", "train"], 2, "usage", r"'train' is not one of"),
        (["shapes", "--seed", "-1"], 2, "usage", r"--seed must be from 0 to"),
        (["samples", "--device", "tpu"], 2, "usage", r"--device must be auto"),
        (["samples", "--model", "minni"], 4, "model_unavailable", r"did you mean mini\?"),
        (["samples", "--out", "/dev/null/x"], 6, "output_failed", r"can't be written.*--out"),
    ],
)
def test_what_is_refused(arguments: list[str], code: int, word: str, sentence: str) -> None:
    text = run_here("eval", *arguments)
    assert (text.code, text.out) == (code, "")
    assert re.fullmatch(rf"Error: .*{sentence}.*\n", text.err)
    document = run_here("eval", *arguments, "--json").object
    assert document["error"]["code"] == word
    assert re.search(sentence, document["error"]["message"])
    valid(document, "eval", "error")


def test_which_frames_and_how_to_answer(tmp_path: Path) -> None:
    asked = ("eval", "samples", "--split", "validation", "--limit", "2", "--device", "cpu")
    how = ("--fps", "1", "--max-frames", "3", "--start", "0.5", "--max-tokens", "2")
    rows = ("--methods", "none,one-frame,no-video", "--out", tmp_path)
    outcome = run_here(*asked, *how, *rows, "--json")
    assert outcome.code == 0
    valid(outcome.object, "eval", "report")
    assert outcome.object["frames"] is None
    assert [row["frames"] for row in outcome.object["rows"]] == [None, 1, 0]
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    about = [line["about"] for line in lines if "about" in line]
    assert all(setup["max_tokens"] == 2 for setup in about)
    generation = {"temperature": 0.0, "seed": None, "trace": None}
    part = {"fps": None, "max_frames": None, "start_s": 0.5, "end_s": None, "stream": None}
    options = {setup["frames"]: setup["options"] for setup in about}
    assert options == {
        None: generation | part | {"fps": 1.0, "max_frames": 3},
        1: generation | part,
        0: generation,
    }
    answers = [line for line in lines if "item" in line]
    assert {line["generated"] for line in answers} == {2}
    assert {line["visual"] // 16 for line in answers} >= {0, 1, 3}
    assert "2 videos, as many frames as --fps takes, model" in run_here(*asked, *how, *rows).out


@pytest.mark.extended
@pytest.mark.parametrize("more", [("--batch-size", "4"), ("--cache",)])
def test_asked_together_or_from_the_cache_answers_are_the_same(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    flags = ("--methods", "none,dycoke,no-video", "--dtype", "float32", "--limit", "2", "--json")
    alone, *others = (
        without_times(run(tmp_path / str(n), *flags, *how).object)["rows"]
        for n, how in enumerate(((), more, more))
    )
    assert others == [alone, alone]


def test_two_runs_on_one_journal(tmp_path: Path) -> None:
    with open_answers(tmp_path):
        outcome = run(tmp_path)
    assert (outcome.code, outcome.out) == (6, "")
    assert re.search(r"Error: another run is writing to .*; wait for it", outcome.err)


def test_how_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, LoadOptions, int]] = []

    def choose(name: str, loading: LoadOptions, copies: int) -> None:
        seen.append((name, loading, copies))
        raise ModelError("that is all")

    monkeypatch.setattr(eval_run, "resolve_model", choose)
    flags = ("--model", "mini", "--dtype", "float32", "--device-map", "auto", "--quantize", "int8")
    for more, copies in (((), 1), (("--workers", "3"), 3)):
        assert run_here("eval", "samples", *flags, *more, "--out", tmp_path).code == 4
        options = LoadOptions(dtype="float32", device_map="auto", quantize="int8")
        assert seen.pop() == ("mini", options, copies)
