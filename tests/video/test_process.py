"""What is seen from outside a process: silence on stderr, and no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.video.clips import Recipe
from tests.video.conftest import MakeClip
from tests.video.test_damage import damaged


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_ffmpeg_is_silent_about_damage(make_clip: MakeClip, tmp_path: Path) -> None:
    path = damaged(make_clip(Recipe()), tmp_path / "bad.mp4", 3, 4, 5)
    # Even where another part of the program has made it talk.
    script = (
        "import sys, av.logging; av.logging.restore_default_callback();"
        "av.logging.set_level(av.logging.DEBUG);"
        "from dycoke_cli.video import read; print(len(read(sys.argv[1]).warnings))"
    )
    done = run(script, str(path))
    assert done.stderr == ""
    assert done.stdout == "1\n"


def test_torch_isnt_imported() -> None:
    done = run("import sys, dycoke_cli.video; print('torch' in sys.modules)")
    assert done.stdout == "False\n"
