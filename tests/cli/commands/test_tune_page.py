"""docs/evaluate.md, "Tuning, and a guard": its commands work as they stand, on the sample clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dycoke_cli.models.settings import ENVIRONMENT as SETTINGS
from dycoke_cli.storage.cache_folder import ENVIRONMENT as CACHE
from tests.cli.harness import ROOT
from tests.cli.test_readme import VENV, blocks, in_shell
from tests.pages import section

PAGE = section("evaluate.md", "Tuning, and a guard: `tune`")


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.skipif(not VENV.exists(), reason="the commands are for the environment in .venv")
def test_the_commands_of_the_page(tmp_path: Path) -> None:
    typed = blocks("console", PAGE)[0].replace("$ ", "").splitlines()
    tune, ask, batch = typed
    settings = tmp_path / "settings" / "settings.json"
    own = {SETTINGS: str(settings), CACHE: str(tmp_path / "cache")}
    done = in_shell(tune, timeout_s=900, **own)
    assert done.returncode == 0, done.stderr
    assert "isn't accuracy" in " ".join(done.stdout.split())
    done = in_shell(f"{ask} --json", **own)
    assert done.returncode == 0, done.stderr
    kept = json.loads(next((settings.parent / "tuned").iterdir()).read_text())
    asked = json.loads(done.stdout)
    assert asked["tuned"] == kept["tuned"]
    assert asked["method"] == kept["method"]
    done = in_shell(batch, **own)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    clips = [*(ROOT / "sample_videos").glob("*.mp4"), *(ROOT / "sample_videos").glob("*.webm")]
    assert {Path(line["video"]).name for line in lines} == {each.name for each in clips}
    assert all(line["guard"]["alpha"] == 0.05 for line in lines)
    # 59 videos are needed: with those of the samples it keeps all tokens, and says so.
    assert all(line["guard"]["threshold"] is None for line in lines)
    assert all("more videos are needed" in " ".join(line["warnings"]) for line in lines)
