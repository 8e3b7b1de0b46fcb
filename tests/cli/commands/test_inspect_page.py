"""docs/guide.md, "Inspect": each command that it shows runs, and leaves what it says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.cli.harness import ROOT, run_here
from tests.pages import section

PAGE = section("guide.md", "Inspect")
COMMANDS = re.findall(r"^```sh\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sample_videos").symlink_to(ROOT / "sample_videos")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    redirected = words.index(">") if ">" in words else len(words)
    run = run_here(*words[1:redirected], "--device", "cpu")
    assert run.code == 0, run.err
    written = [word for word in words if Path(word).suffix in (".html", ".png")]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == written
    if redirected < len(words):
        assert json.loads(run.out)["schema"] == "dycoke.inspect/1"
