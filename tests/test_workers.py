"""Tests run in workers: each once, told of as in one process; a worker that dies is red."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.cli.harness import ROOT, run_process

FILES = {
    "test_1_sound": "import pytest\n@pytest.mark.parametrize('n', range(3))\n"
    "def test(n, tmp_path): (tmp_path / 'mine').mkdir()",
    "test_2_wrong": "def test():\n    print('what it said')\n    assert 1 == 2",
    "test_3_dying": "import os\ndef test(): os._exit(7)",
}


def test_each_is_run_once_and_told_of(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / f"{name}.py").write_text(content)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    words = ["-p", "tests.workers", "--workers", "4", "-p", "no:cacheprovider", str(tmp_path)]
    run = run_process([sys.executable, "-m", "pytest", *words], fresh=True, PYTHONPATH=str(ROOT))
    assert run.code == 1, run.out
    assert "2 failed, 3 passed" in run.out
    assert "what it said" in run.out
    assert "a worker ended with 7; not all of its tests were run" in run.out


def test_none_goes_on_without_the_first_process(tmp_path: Path) -> None:
    kill = "import os, signal, time\ndef test(): os.kill(os.getppid(), signal.SIGKILL)"
    (tmp_path / "test_1_kill.py").write_text(f"{kill}; time.sleep(5)")
    left = "from pathlib import Path\nimport time\ndef test():\n    time.sleep(5)\n"
    (tmp_path / "test_2_left.py").write_text(f"{left}    Path({str(tmp_path)!r}, 'left').touch()")
    (tmp_path / "pytest.ini").write_text("[pytest]")
    words = ["-p", "tests.workers", "--workers", "2", "-p", "no:cacheprovider", str(tmp_path)]
    run = run_process([sys.executable, "-m", "pytest", *words], fresh=True, PYTHONPATH=str(ROOT))
    assert run.code == -signal.SIGKILL
    assert not (tmp_path / "left").exists()
