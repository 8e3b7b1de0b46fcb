"""`dycoke eval` on miniatures of the published benchmarks: listed, checked, with broken videos."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from dycoke_cli.evaluation.datasets import DATASETS, class_of
from dycoke_cli.evaluation.prediction import FILE
from dycoke_cli.evaluation.presets import presets
from dycoke_cli.loop.local_engine import Engine
from tests.cli.harness import Outcome, run_here
from tests.documents import valid
from tests.evaluation import miniatures
from tests.evaluation.prepared import never

SMALL = ("--frames", "2", "--device", "cpu", "--max-tokens", "6", "--quiet")


def run(name: str, data: Path, out: Path, *flags: str | Path) -> Outcome:
    return run_here("eval", name, "--data", data, *SMALL, "--out", out, *flags)


def test_the_list_names_all() -> None:
    text = run_here("eval", "--list")
    assert (text.code, text.err) == (0, "")
    shown = " ".join(text.out.split())
    for name in DATASETS:
        assert re.search(rf"^{name} ", text.out, re.MULTILINE)
        assert f"{class_of(name).about.questions:,} questions" in shown
    assert "mvbench_action_count" in text.out
    for name in presets():
        assert re.search(rf"^{name} +Preset of arXiv", text.out, re.MULTILINE)
    assert "fastv:prune_ratio=0.65:prune_layer=5" in re.sub(r"\s+", "", text.out)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nextqa_mc_test"], r"nextqa_mc_test needs the folder of its files: --data DIR, with te"),
        (["shapes", "--data", "."], r"shapes is bundled: it takes no --data"),
        (["mvbench", "--data", "DATA/videomme"], r"has no action_antonym\.json"),
        (
            ["perceptiontest_val_mc", "--data", "DATA/perceptiontest_val_mc", "--split", "test"],
            r"perceptiontest_val_mc has no test split with answers: it has validation",
        ),
        (["mvbench", "--data", "DATA/mvbench", "--start", "1"], r"--start and --end aren't for mv"),
    ],
)
def test_what_is_refused(
    arguments: list[str], sentence: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "load", never)
    given = [argument.replace("DATA", str(data)) for argument in arguments]
    outcome = run_here("eval", *given, "--quiet")
    assert (outcome.code, outcome.out) == (2, "")
    assert re.search(sentence, outcome.err)
    document = run_here("eval", *given, "--json", "--quiet").object
    assert (document["error"]["code"], bool(valid(document, "eval", "error"))) == ("usage", True)


def test_no_video_at_all_is_said_before_a_model_is_loaded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "load", never)
    miniatures.put_csv(tmp_path / "test.csv", miniatures.nextqa_rows())
    outcome = run("nextqa_mc_test", tmp_path, tmp_path / "out")
    assert outcome.code == 3
    assert "none of the 2 videos of nextqa_mc_test is below --data (401" in outcome.err


def test_a_video_that_is_missing_or_broken_is_a_line_per_question(
    data: Path, tmp_path: Path
) -> None:
    folder = miniatures.make("nextqa_mc_test", tmp_path / "data")
    (folder / "NExTVideo" / "1164" / "4010069381.mp4").unlink()
    loud = run_here(
        "eval", "nextqa_mc_test", "--data", folder, *SMALL[:-1], "--out", tmp_path / "out",
        "--methods", "none",
    )  # fmt: skip
    assert loud.code == 1
    assert (
        "Warning: 1 of 2 videos of nextqa_mc_test aren't below --data (4010069381); questions "
        "about them count as wrong, and the report lists them" in loud.err
    )
    lines = [line for line in loud.out.splitlines() if "4010069381_" in line]
    assert [line.split()[:2] for line in lines] == [
        ["none:", "4010069381_0"], ["none:", "4010069381_1"],
    ]  # fmt: skip
    assert loud.err.count("Failed: ") == 1  # two questions, one video
    assert all("failed: " in line and "doesn't exist" in line for line in lines)
    # It is found, and only what has no answer is asked.
    miniatures.put(folder / "4010069381.webm")
    assert run("nextqa_mc_test", folder, tmp_path / "out", "--methods", "none").code == 0
    written = [json.loads(line) for line in (tmp_path / "out" / FILE).read_text().splitlines()]
    assert sorted(line["item"] for line in written if "item" in line) == [
        "2574374895_0", "4010069381_0", "4010069381_1",
    ]  # fmt: skip


def test_a_part_that_is_not_there_fails_its_question_alone(tmp_path: Path) -> None:
    rows = miniatures.mvbench_rows("action_localization")
    rows[1] |= {"start": 5.0, "end": 6.0}
    miniatures.put_json(tmp_path / "action_localization.json", rows)
    miniatures.put(tmp_path / "sta" / "sta_video" / "a.mp4")
    outcome = run(
        "mvbench_action_localization", tmp_path, tmp_path / "out", "--methods", "none", "--json"
    )
    assert outcome.code == 1
    document = valid(outcome.object, "eval", "report")
    (row,) = document["rows"]
    assert (row["questions"], row["failed"]) == (2, 1)
    (failed,) = [one for one in document["unscored"] if one["reason"] == "failed"]
    assert failed["item"] == "action_localization_1"
    assert "5 s lies beyond the end of the video" in failed["text"]


@pytest.mark.extended
def test_a_preset_beside_the_published_figures(data: Path, tmp_path: Path) -> None:
    """With the bundled model and fewer frames; all else is the preset's."""
    given = ("--preset", "table-1-7b", "--model", "mini", "--frames", "8", "--device", "cpu")
    flags = ("eval", "videomme", "--data", data / "videomme", *given, "--out", tmp_path)
    text = run_here(*flags)
    assert text.code == 0
    assert "of table-1-7b are those of llava-onevision-7b, not of mini\n" in text.err
    for line in (
        r"1 +LLaVA-OneVision 7B, full tokens +accuracy, % +\d+\.\d ± \d+\.\d +58\.5",
        r"2 +LLaVA-OneVision 7B, FastV \(35 %\) +accuracy, % .* 57\.3",
        r"6 +LLaVA-OneVision 7B, DyCoke \(K=0\.7, P=0\.7, L=3\) +accuracy, % .* 58\.3",
        r"6 +LLaVA-OneVision 7B, DyCoke \(K=0\.7, P=0\.7, L=3\) +paper FLOPs, 10¹² +\S+ +17\.9",
        r"implementation +#3 +this project's +not published",
        r"model +all +mini +llava-onevision-7b",
        r"frames +all +8 +32",
        r"questions +all +3 +2,700",
    ):
        assert re.search(rf"^{line} *$", text.out, re.MULTILINE), line
    assert "it isn't a result of" in text.out
    head = json.loads((tmp_path / "run.jsonl").read_text().splitlines()[0])
    assert head["conditions"]["generation"]["max_tokens"] == 16
    assert head["rows"][0]["setup"]["edition"].endswith("-list")
    lines = list(
        csv.DictReader(io.StringIO(run_here("eval", "report", tmp_path, "--csv", "--quiet").out))
    )
    assert [line["published.accuracy"] for line in lines] == [
        "0.585", "0.573", "0.529", "0.588", "0.595", "0.583", "0.583",
    ]  # fmt: skip
    assert json.loads(lines[0]["published.differs"])["frames"] == ["8", "32"]


def test_methods_in_place_of_the_preset_s(data: Path, tmp_path: Path) -> None:
    given = ("--preset", "table-1-7b", "--model", "mini", "--methods", "dycoke:merge_ratio=0.3")
    document = run("nextqa_mc_test", data / "nextqa_mc_test", tmp_path, *given, "--json").object
    (row,) = document["rows"]
    differing = {name: here for name, (here, _) in row["published"]["differs"].items()}
    assert differing.keys() >= {"variant", "frames", "max tokens"}
    assert (differing["variant"], differing["max tokens"]) == ("paper", "6")
