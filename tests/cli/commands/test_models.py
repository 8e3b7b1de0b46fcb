"""`dycoke models`: the list, and the model that answers by default."""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from dycoke_cli.cli.commands import model_documents
from dycoke_cli.cli.commands.estimate import spelled
from dycoke_cli.cli.commands.model_documents import all_models, models_table
from dycoke_cli.cli.commands.models import _rank
from dycoke_cli.engine.memory import cost_model
from dycoke_cli.models.catalog import CATALOG, STATES, Entry
from dycoke_cli.models.devices import FreeMemory
from dycoke_cli.models.load_options import ENVIRONMENT
from tests.cli.harness import CLIP, run_here


def table(width: int = 100) -> str:
    """The list on a terminal of so many columns."""
    stream = io.StringIO()
    Console(width=width, file=stream).print(models_table(all_models()))
    return stream.getvalue()


def test_what_is_bundled_default_downloaded_or_fits_comes_first() -> None:
    document = all_models()
    mini, *others = document.models
    held = [replace(other, fits=None, on_disk=None) for other in others[:5]]
    held[3] = replace(held[3], on_disk=mini.on_disk)
    held[2] = replace(held[2], fits="ram")
    document = replace(document, default=held[1].name, models=(*held, mini))
    ranked = sorted(document.models, key=lambda model: _rank(model, document))
    assert ranked == [mini, held[1], held[3], held[2], held[0], held[4]]


@pytest.mark.parametrize("width", [40, 80, 125])
def test_nothing_is_cut_at_any_width(width: int) -> None:
    lines = table(width).splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    if width >= 80:
        assert lines[0].split() == ["Name", "Size", "Download", "On", "disk", "Fits", "State"]
        assert {*CATALOG} <= {line[3:].split(" ")[0] for line in lines}


@pytest.mark.parametrize(
    ("name", "meant"),
    [("llava", "llava-onevision-0.5b"), ("Qwen", "qwen2-vl-2b"), ("internvl", "internvl3-1b")],
)
def test_a_short_name_of_several_is_answered_with_the_first(name: str, meant: str) -> None:
    run = run_here("ask", CLIP, "What?", "--model", name)
    assert run.code == 4
    assert f"did you mean {meant}? `dycoke models {name.lower()}` lists them" in run.err
    assert meant in names_of(name)


def test_a_search_by_words() -> None:
    assert names_of("QWEN", "2.5", "3b") == ["qwen2.5-vl-3b"]
    assert len(names_of("paper's")) == 3  # a word of notes
    assert names_of("list", "qwen2.5-vl-3b") == names_of("qwen2.5-vl-3b")
    document = run_here("models", "internvl", "--json").object
    assert {model["family"] for model in document["models"]} == {"internvl"}
    for words, hint in (
        ("nonesuch", "`dycoke models` lists"),
        ("pul", "did you mean `dycoke models pull`"),
    ):
        run = run_here("models", words)
        assert f"has '{words}' in its name or note; " in run.refusal
        assert hint in run.err


def names_of(*arguments: str) -> list[str]:
    """The models that a program gets, in the order of the catalog."""
    return [model["name"] for model in run_here("models", *arguments, "--json").object["models"]]


def test_a_list_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        model_documents, "this_machine", lambda: FreeMemory(ram_bytes=2_500_000_000, gpu_bytes=())
    )
    assert names_of("list", "--downloaded") == ["mini"]
    fitting = names_of("list", "--fits")
    assert "mini" in fitting
    assert "llava-onevision-0.5b" in fitting
    assert "llava-onevision-7b" not in fitting


def test_those_that_fit_have_the_time_of_a_clip_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cost_model, "product_rate", lambda dtype, device, stage: 1e9)
    free = FreeMemory(ram_bytes=60_000_000_000, gpu_bytes=())
    monkeypatch.setattr(model_documents, "this_machine", lambda: free)
    fitting = []
    for name in ("llava-onevision-0.5b", "internvl3-8b", "llava-next-video-7b"):
        listed, fits = (run_here("models", name, "--json", *more) for more in ([], ["--fits"]))
        assert all("seconds" not in model for model in listed.object["models"])
        fitting += fits.object["models"]
    seconds = {model["name"]: model["seconds"] for model in fitting}
    # Not in the package: the configuration of the one, the size of the other's weights.
    assert seconds["internvl3-8b"] is seconds["llava-next-video-7b"] is None
    # By hand, with FLOPs of 4nd² + 2n²d + 2ndm a layer: vision 27 layers over 32 frames of 729
    # patches; 24 layers over the 32 × 196 visual tokens, of which DyCoke keeps 47 %, and the text.
    [model] = [one for one in fitting if one["name"] == "llava-onevision-0.5b"]
    tower = 27 * 32 * (4 * 729 * 1152**2 + 2 * 729**2 * 1152 + 2 * 729 * 1152 * 4304)
    read = 0.475 * 32 * 196
    prefill = 24 * (4 * read * 896**2 + 2 * read**2 * 896 + 2 * read * 896 * 4864)
    decode = 128 * (24 * (2 * 896**2 + 2 * 128 * 896 + 3 * 896 * 4864) + 152_000 * 896)
    assert model["seconds"] == pytest.approx((tower + prefill + decode) / 1e9, rel=0.05)
    shown = run_here("models", "--fits", "llava-onevision-0.5b").out
    assert "A clip" in shown
    assert "On disk" not in shown
    assert spelled(model["seconds"]) in shown


def test_table_says_what_is_known_and_what_is_not() -> None:
    rows = {line[3:].split(" ")[0]: line.split() for line in reversed(table().splitlines())}
    assert rows["qwen2.5-vl-7b"][:6] == ["qwen2.5-vl-7b", "8.29", "B", "16.6", "GB", "–"]
    assert rows["qwen2.5-vl-7b"][-1] == "layout-tested"
    assert rows["qwen3.5-4b"][:5] == ["qwen3.5-4b", "?", "?", "–", "?"]
    assert "verified" in rows["mini"]
    text = " ".join(table().split())
    for state, meaning in STATES.items():
        assert f"{state}: {meaning}" in text


def test_json_has_the_catalog() -> None:
    document = run_here("models", "--json").object
    assert (document["schema"], document["default"]) == ("dycoke.models/1", "mini")
    assert set(document["machine"]) == {"ram_bytes", "gpu_bytes"}
    assert [model["name"] for model in document["models"]] == list(CATALOG)
    assert document["models"][1]["download_bytes"] == CATALOG["llava-onevision-0.5b"].download_bytes
    of_entry = {field.name for field in dataclasses.fields(Entry)} - {"frame_text", "clip_text"}
    for model in document["models"]:
        assert set(model) == of_entry | {
            "fits",
            "layout",
            "on_disk",
            "prune_layer",
            "positions",
        }
        assert model["fits"] in ("gpu", "ram", "no", None)
    (mini,) = [model for model in document["models"] if model["name"] == "mini"]
    assert mini["on_disk"]["complete"]
    assert mini["on_disk"]["bytes"] > 10_000_000
    (qwen,) = [model for model in document["models"] if model["name"] == "qwen3-vl-8b"]
    assert (qwen["tokens_per_frame"], qwen["positions"]) == (None, "kept")
    assert qwen["shape"] == {
        "side": 32,
        "least": 4096,
        "most": 25165824,
        "limits": "clip",
        "merged": 2,
    }


def test_info_of_the_bundled_model() -> None:
    run = run_here("models", "info", "mini")
    assert (run.code, run.err) == (0, "")
    text = " ".join(run.out.split())
    assert "Visual tokens 16 per frame" in text
    assert "Defaults --prune-layer 9 --positions kept" in text


def test_info_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 5, '
        '"torch_dtype": "float16"}'
    )
    (tmp_path / "model.safetensors").write_bytes(b"1234")
    (model,) = run_here("models", "info", tmp_path, "--json").object["models"]
    assert (model["name"], model["repo"], model["parameters"]) == (str(tmp_path), None, None)
    assert model["on_disk"]["complete"]
    text = " ".join(run_here("models", "info", tmp_path).out.split())
    assert "Note not in the catalog Family llama Layout ? Size ? parameters" in text


@pytest.mark.parametrize(
    ("config", "layout"),
    [
        ({"model_type": "qwen2_vl"}, "listed"),
        ({"model_type": "lfm3_vl", "vision_config": {"hidden_size": 8}}, "found"),
        ({"model_type": "qwen2_5_omni", "thinker_config": {}}, "found"),
        ({"model_type": "llama"}, None),
    ],
)
def test_info_says_how_a_layout_is_known(config: dict, layout: str | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"1234")
    (model,) = run_here("models", "info", tmp_path, "--json").object["models"]
    assert model["layout"] == layout


def test_what_is_here_already_is_not_pulled() -> None:
    run = run_here("models", "pull", "mini")
    assert (run.code, run.out) == (0, "")
    assert "nothing to pull" in run.err


def test_the_environment_names_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "llava-onevision-0.5b")
    (marked,) = [line for line in table().splitlines() if line.startswith("*  ")]
    assert "llava-onevision-0.5b" in marked
    monkeypatch.setenv(ENVIRONMENT, "someone/some-model")
    assert "Default: someone/some-model" in table()
    monkeypatch.setenv(ENVIRONMENT, "lava-onevision-7b")
    run = run_here("ask", CLIP, "What?")
    assert run.code == 4
    assert "did you mean llava-onevision-7b?" in run.err
    monkeypatch.setenv(ENVIRONMENT, "")
    assert run_here("models", "--json").object["default"] == "mini"
