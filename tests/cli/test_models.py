"""`dycoke models`: the list, and the model that answers by default."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dycoke_cli.errors import ModelError
from dycoke_cli.models import settings
from dycoke_cli.models.catalog import CATALOG

from .harness import run_here


def test_table_has_all_models_and_marks_the_default() -> None:
    run = run_here("models")
    assert (run.code, run.err) == (0, "")
    for entry in CATALOG.values():
        assert entry.name in run.out
    (marked,) = [
        line for line in run.out.splitlines() if line.startswith("* ") and "default" not in line
    ]
    assert "mini" in marked
    assert "\x1b" not in run.out


def test_json_has_the_catalog() -> None:
    document = run_here("models", "--json").object
    assert (document["schema"], document["default"]) == ("dycoke.models/1", "mini")
    assert [model["name"] for model in document["models"]] == list(CATALOG)
    assert document["models"][1]["download_bytes"] == CATALOG["llava-onevision-0.5b"].download_bytes


def test_default_is_remembered(settings_file: Path) -> None:
    assert run_here("models", "default").out == "mini\n"
    run = run_here("models", "default", "llava-onevision-0.5b")
    assert (run.code, run.out) == (0, "")
    assert f"llava-onevision-0.5b answers from now on (remembered in {settings_file})" in run.err
    assert run_here("models", "default").out == "llava-onevision-0.5b\n"
    assert json.loads(settings_file.read_text()) == {"default_model": "llava-onevision-0.5b"}
    assert list(settings_file.parent.iterdir()) == [settings_file]
    (marked,) = [
        line
        for line in run_here("models").out.splitlines()
        if line.startswith("* ") and "default" not in line
    ]
    assert "llava-onevision-0.5b" in marked


def test_default_can_be_a_hub_id_or_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_here("models", "default", "someone/some-model").code == 0
    assert run_here("models", "default").out == "someone/some-model\n"
    assert "Default: someone/some-model" in run_here("models").out
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "model.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert run_here("models", "default", "checkpoint").code == 0
    # It has to be found from wherever the next command runs.
    assert run_here("models", "default").out == f"{checkpoint}\n"


def test_default_that_is_no_model_changes_nothing(settings_file: Path) -> None:
    run = run_here("models", "default", "lava-onevision-7b")
    assert (run.code, run.out) == (4, "")
    assert "did you mean llava-onevision-7b?" in run.err
    assert not settings_file.exists()


def test_settings_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "settings.json"
    monkeypatch.setenv(settings.ENVIRONMENT, str(path))
    run = run_here("models", "default", "mini")
    assert run.code == 6
    assert run.err.startswith(f"Error: {path} can't be written")


@pytest.mark.parametrize("content", ["", "[]", '{"default_model": 3}', '{"default_model": ""}'])
def test_settings_that_make_no_sense(settings_file: Path, content: str) -> None:
    settings_file.parent.mkdir()
    settings_file.write_text(content)
    with pytest.raises(ModelError, match="writes them anew"):
        settings.default_model()
    assert run_here("models", "default", "mini").code == 0
    assert settings.default_model() == "mini"


def test_settings_without_a_model(settings_file: Path) -> None:
    settings_file.parent.mkdir()
    settings_file.write_text("{}")
    assert settings.default_model() is None


def test_settings_live_in_the_users_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(settings.ENVIRONMENT)
    assert settings.settings_file().name == "settings.json"
    assert "dycoke" in settings.settings_file().parent.name
