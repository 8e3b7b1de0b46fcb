"""Limits of a process: what goes beyond fails there, and the one that set them lives on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dycoke_cli.processes import sandbox as process_limits
from dycoke_cli.processes.sandbox import limit_cpu, limit_memory, limits_memory
from tests.processes.test_worker import ended, with_path
from tests.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="set on Linux alone")
MB = 10**6


def started(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=with_path()
    )


def test_memory_of_another_process_is_limited() -> None:
    code = (
        "input()\n"
        "for size in (50, 500):\n"
        "    try: print(len(bytes(size * 10**6)) // 10**6, flush=True)\n"
        "    except MemoryError: print('none', flush=True)\n"
    )
    with started(code) as child:
        limit_memory(child.pid, 200 * MB)
        assert child.communicate("\n")[0].split() == ["50", "none"]


def test_nothing_is_written_any_more(tmp_path: Path) -> None:
    code = (
        "import signal\n"
        "from dycoke_cli.processes.sandbox import give_up_privileges\n"
        "give_up_privileges()\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"file = open({str(tmp_path / 'file')!r}, 'wb', buffering=0)\n"
        "try: file.write(b'x')\n"
        "except OSError: print('none', flush=True)\n"
        "print(open('/proc/self/status').read().partition('NoNewPrivs:')[2].split()[0])\n"
        "print(*__import__('resource').getrlimit(4))\n"
    )
    with started(code) as child:
        assert child.communicate()[0].split() == ["none", "1", "0", "0"]
    assert (tmp_path / "file").stat().st_size == 0


def test_a_process_that_heeds_nothing_ends_with_its_parent() -> None:
    """As one does that imports a library: it holds the interpreter, and reads no pipe."""
    code = (
        "import os, time, ctypes; from dycoke_cli.processes.sandbox import end_with\n"
        "ours = os.getpid()\n"
        "if pid := os.fork(): print(pid, flush=True); time.sleep(1000)\n"
        "end_with(ours); ctypes.PyDLL(None).sleep(1000)\n"
    )
    with started(code) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    until(lambda: ended(child), 10)


def test_a_process_that_is_gone_is_said() -> None:
    with started("") as child:
        child.wait()
    with pytest.raises(ProcessLookupError):
        limit_cpu(child.pid, 1)
    with pytest.raises(FileNotFoundError):
        limit_memory(child.pid, MB)


def test_without_proc_memory_isnt_limited_and_time_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limits_memory()
    monkeypatch.setattr(process_limits, "_SIZE", str(tmp_path / "{}"))
    assert not limits_memory()
    with started("input()\nprint(len(bytes(50 * 10**6)), flush=True)\nwhile True: pass") as child:
        limit_memory(child.pid, MB)
        limit_cpu(child.pid, 0.1)
        assert child.communicate("\n", timeout=60)[0] == "50000000\n"
        assert child.returncode == -signal.SIGXCPU


def test_a_video_is_read_without_proc() -> None:
    """As in a chroot or a minimal container."""
    hidden = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs none /proc; "$@"',
    ]
    if shutil.which("unshare") is None or subprocess.run([*hidden, "", "true"]).returncode:
        pytest.skip("no file systems can be mounted here")
    code = (
        "import os, sys\n"
        "from dycoke_cli.video.decoder import Decoder, Sampling\n"
        "from dycoke_cli.resources import affinity, free_main_memory, usable_cpus\n"
        "assert not os.listdir('/proc')\n"
        "with Decoder() as decoder:\n"
        "    print(len(decoder.read(sys.argv[1], Sampling(frames=2)).frames))\n"
        "print(len(affinity()), usable_cpus(), free_main_memory())\n"
    )
    clip = Path(__file__).parents[2] / "sample_videos" / "move.mp4"
    command = [*hidden, "", sys.executable, "-c", code, str(clip)]
    run = subprocess.run(command, capture_output=True, text=True, env=with_path())
    assert run.stderr == ""
    frames, cpus, *_ = run.stdout.split()
    assert (frames, int(cpus)) == ("2", len(os.sched_getaffinity(0)))
