"""What README.md tells a user to type works: every `sh` and `python` block is run.

So are `sh cluster` of docs/serve.md and, as one, the `python` blocks of docs/dev/engine.md.
"""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest

from tests.cli.harness import PATIENCE_S, ROOT
from tests.pages import blocks
from tests.runs.clusters import cluster_of

README = (ROOT / "README.md").read_text(encoding="utf-8")
ENGINE = (ROOT / "docs" / "dev" / "engine.md").read_text(encoding="utf-8")
VENV = ROOT / ".venv"


def in_shell(
    block: str, timeout_s: float = 3 * PATIENCE_S, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a block as a user who has activated .venv does."""
    environment = {
        **os.environ,
        "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}",
        # The environment is there: `make` mustn't install it once more.
        "MAKEFLAGS": "--old-file=.venv/.installed",
        **more,
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.mark.extended
@pytest.mark.skipif(not VENV.exists(), reason="the commands are for the environment in .venv")
@pytest.mark.parametrize("block", blocks("sh", README))
def test_shell_block(block: str) -> None:
    done = in_shell(block)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() or "--out" in block


@pytest.mark.extended
@pytest.mark.skipif(not VENV.exists(), reason="the commands are for the environment in .venv")
def test_cluster_block() -> None:
    """On a real cluster of two nodes, which --address auto finds."""
    out = ROOT / "cluster.jsonl"
    (block,) = blocks("sh cluster", (ROOT / "docs" / "serve.md").read_text(encoding="utf-8"))
    out.unlink(missing_ok=True)
    with cluster_of(2) as cluster:
        done = in_shell(block, RAY_ADDRESS=cluster.address)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len({line["video"] for line in lines}) > 5
    assert all(line["answer"] for line in lines)


@pytest.mark.extended
@pytest.mark.parametrize("block", [*blocks("python", README), "".join(blocks("python", ENGINE))])
def test_python_block(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from dycoke_cli import Sampling, load, read

    monkeypatch.chdir(ROOT)
    loaded = load("mini")
    clip = read("sample_videos/move.mp4", Sampling(frames=8))
    content = [{"type": "video"}, {"type": "text", "text": "What happens?"}]
    prompt = loaded.processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    inputs = loaded.processor(text=[prompt], videos=[clip.frames], return_tensors="pt")
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"].to(loaded.model.dtype)
    exec(compile(block, "README.md", "exec"), {"model": loaded.model, "inputs": inputs})


def test_the_way_without_a_gpu_takes_what_is_pinned() -> None:
    assert "`make demo CPU=1`" in README
    planned = subprocess.run(
        ["make", "-n", "-B", "demo", "CPU=1"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    torch = r"--constraint constraints.txt --no-deps --index-url \S+/cpu torch torchvision"
    assert re.search(torch, planned)
    assert "--no-deps --constraint" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    pins = (ROOT / "src/dycoke_cli/tested.txt").read_text(encoding="utf-8")
    assert re.search(r"^torch==", pins, re.MULTILINE)
    assert re.search(r"^torchvision==", pins, re.MULTILINE)
