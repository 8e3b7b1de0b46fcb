"""`dycoke verify`: end to end with the bundled model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from dycoke_cli.engine.kv_cache.slots import Slots
from dycoke_cli.errors import ModelError
from dycoke_cli.models import load as load_module
from dycoke_cli.models.load_options import LoadOptions
from tests.cli.harness import REAL, run_here, run_process
from tests.documents import valid
from tests.hub import COMMIT, Hub, Repo
from tests.verification.decode_rules.folders import text_folder, video_folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.extended
@pytest.mark.slow
def test_the_bundled_model_is_verified(here: Path) -> None:
    run = run_here("verify", "mini", "--dtype", "float32")
    assert run.code == 0
    assert run.out == "mini: verified\n"
    assert run.err.count("\nok ") == 5
    report = json.loads((here / "verify-mini.json").read_text())
    assert report["schema"] == "dycoke.verify/1"
    assert report["verdict"] == "verified"
    assert report["model"]["dtype"] == "float32"
    methods = [answer["method"] for answer in report["answers"]]
    assert methods == ["none", "ttm", "dycoke"] * 3
    whole, merged, pruned = report["answers"][:3]
    assert merged["tokens"]["visual_kept"] < whole["tokens"]["visual_kept"]
    assert pruned["tokens"]["visual_active_in_decode"] < pruned["tokens"]["visual_kept"]
    assert all(answer["answer"] for answer in report["answers"])
    for answer in report["answers"]:  # which take longest on a CPU, so each is shown as it comes
        assert f"\n{answer['question']} ({answer['method']}) {answer['answer']}\n" in run.err


@pytest.mark.extended
@pytest.mark.slow
def test_as_json_and_quiet(here: Path) -> None:
    run = run_here("verify", "mini", "--json", "--quiet", "--out", "mine.json")
    assert (run.code, run.err) == (0, "")
    assert run.object == json.loads((here / "mine.json").read_text())
    assert valid(run.object, "verify", "report")["verdict"] == "verified"


@pytest.mark.extended
@pytest.mark.slow
def test_a_broken_engine_exits_with_1(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    arrange = Slots.arrange

    def wrong(self, active):
        swaps = arrange(self, active)
        return replace(swaps, target=swaps.target.roll(1, dims=0))

    monkeypatch.setattr(Slots, "arrange", wrong)
    run = run_here("verify", "mini", "--dtype", "float32", "--frames", "16")
    assert run.code == 1
    assert run.out == "mini: not verified\n"
    assert "failed  pruned, positions kept: same answers as the masked reference" in run.err
    assert (here / "verify-mini.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["verify", "nosuch"], 4, "there is no model 'nosuch'"),
        (["verify", "mini", "--out", "."], 2, "--out . is a folder"),
        (
            ["verify", "mini", "--out", "no/such/folder/x.json"],
            6,
            "there is no folder no/such/folder",
        ),
        (["verify", "mini", "--frames", "0"], 2, "--frames"),
        (["verify", "mini", "--contexts", "9"], 2, "--contexts is for --decode-rules; add that"),
        (["verify", "mini", "--sentences", "9"], 2, "--sentences is for --decode-rules; add"),
        (["verify", "mini", "--decode-rules", "--frames", "9"], 2, "not frames; drop --frames"),
        (["verify", "mini", "--decode-rules", "--contexts", "0"], 2, "--contexts"),
        (["verify", "mini", "--decode-rules", "--out", "."], 2, "--out . is a folder"),
        (["verify", "mini", "--decode-rules", "--sentences", "99999"], 2, "--sentences"),
        (["verify", "mini", "--decode-rules", "--device-map", "auto"], 2, "drop --device-map"),
        (["verify", "mini", "--decode-rules", "--sentences", "200"], 2, "context length of 2048"),
        (["verify", "nosuch", "--decode-rules"], 4, "there is no model 'nosuch'"),
        (["verify", __file__, "--decode-rules"], 4, "isn't a GGUF file; give one"),
    ],
)
def test_what_goes_wrong_is_a_sentence(arguments, code, says) -> None:
    run = run_here(*arguments)
    assert run.code == code
    assert says in run.err
    assert "Traceback" not in run.err
    assert [*Path().glob("*.json")] == []


def test_a_report_takes_the_place_of_no_device(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    run = run_here("verify", "nosuch", "--out", link)
    assert run.code == 6
    assert f"--out {link} isn't a file" in run.err
    assert list(tmp_path.iterdir()) == [link]


def test_how_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, LoadOptions]] = []

    def load(name: str, **how: Any) -> None:
        seen.append((name, LoadOptions(**how)))
        raise ModelError("that is all")

    monkeypatch.setattr(load_module, "load", load)
    run = run_here("verify", "mini", "--dtype", "float32", "--quantize", "int4")
    assert run.code == 4
    assert seen == [("mini", LoadOptions(dtype="float32", quantize="int4"))]
    run = run_here("verify", "mini", "--device-map", "auto", "--device", "cpu")
    assert run.code == 2
    assert "--device-map auto chooses the devices itself" in run.err


SMALL = ("--decode-rules", "--contexts", "2", "--sentences", "1")


@pytest.mark.slow
def test_rules_of_a_text_decoder(here: Path) -> None:
    """The table has the figures of the report, in eighty columns."""
    text_folder(here / "tiny")
    run = run_here("verify", "./tiny", *SMALL)
    assert run.code == 0, run.err
    header, _, full, *rows = run.out.splitlines()
    assert header.split() == [
        "P", "Rule", "L", "Read", "First", "Next", "token", "Fact", "found", "Difference"
    ]  # fmt: skip
    assert " ".join(full.split()) == "– full cache – 100 % 100 100.0 ± 0.0 0.0 ± 0.0"
    assert max(map(len, (header, full, *rows[:27]))) <= 80
    document = json.loads((here / "decode-rules-tiny.json").read_text())
    row = next(one for one in document["rules"] if one["rule"] == "pages")
    line = next(one for one in rows if "pages (as Quest)" in one)
    same, share = row["same_next_token"], row["retention_at_decode"]
    shown = f"{100 * same['mean']:.1f} ± {100 * same['standard_error']:.1f}"
    assert f" {row['first_pruned_layer']} {100 * share:>4.0f} %    100 " in line
    assert f" {shown} " in line
    told = " ".join(run.out.split())
    assert "2 contexts of " in told
    assert "./tiny (4 layers), float32." in told
    assert "Warning: with its full cache the model finds 0 % of the facts" in run.err
    assert run.err.endswith("The report: decode-rules-tiny.json\n")


@pytest.mark.slow
def test_rules_of_a_video_model_as_json_and_quiet(here: Path) -> None:
    folder = video_folder(here / "video")
    run = run_here("verify", folder, *SMALL, "--json", "--quiet", "--out", "mine.json")
    assert (run.code, run.err) == (0, "")
    assert run.object == json.loads((here / "mine.json").read_text())
    report = valid(run.object, "decode-rules", "report")
    assert report["schema"] == "dycoke.decode-rules/1"
    assert (report["contexts"], report["sentences"]) == (2, 1)
    assert report["model"]["family"] == "llava_onevision"
    assert report["rules"][0]["difference"] is None


def test_why_rules_cannot_be_measured_as_json(here: Path) -> None:
    run = run_here("verify", "nosuch", "--decode-rules", "--json")
    assert run.code == 4
    assert valid(run.object, "decode-rules", "error")["model"] == "nosuch"


def test_windows_are_named_below_the_table(here: Path) -> None:
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=3, head_dim=8,
        num_attention_heads=4, num_key_value_heads=1, sliding_window=16,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )  # fmt: skip
    folder = text_folder(here / "windows", Gemma3ForCausalLM(config))
    run = run_here("verify", folder, "--decode-rules", "--contexts", "1", "--sentences", "1")
    assert run.code == 0, run.err
    told = " ".join(run.out.split())
    assert "(3 layers, 2 of them with a sliding window and never pruned)" in told
    assert "index per head" not in run.out  # the same as per layer, of one KV head
    assert "±" not in run.out.partition("P: fraction")[0]  # of a single text


@pytest.mark.extended
@pytest.mark.slow
def test_rules_of_a_text_decoder_of_the_hub(here: Path) -> None:
    files = {path.name: path.read_bytes() for path in text_folder(here / "stored").iterdir()}
    with Hub({"me/mine": Repo(files, stored=(".safetensors",))}) as hub:
        home = hub.environment(here / "home")
        run = run_process(REAL, "verify", "me/mine", *SMALL, "--json", "--quiet", **home)
    assert (run.code, run.err) == (0, "")
    assert run.object["model"]["name"] == "me/mine"
    assert run.object["model"]["revision"] == COMMIT
