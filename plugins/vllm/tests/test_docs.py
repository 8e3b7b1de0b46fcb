"""The commands of docs/serve.md for vLLM, as they stand, with the bundled model under its name."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM isn't installed: tests/environment.py installs it")

from mini_engine import SAMPLES

from benchmarks.serving.checkpoints import export
from benchmarks.serving.server import ON_CPU, VllmServer
from tests.pages import section

PAGE = section("serve.md", "In vLLM") + section("serve.md", "From `dycoke`: `--server`")
BLOCKS = re.findall(r"```(console|python)\n(.*?)```", PAGE, re.DOTALL)
INSTALLED = ["pip install vllm", "pip install . ./plugins/vllm", 'pip install "dycoke-cli[server]"']
"""By `environment.py`, with a CPU build of vLLM."""
WITHOUT_COMPILER = {"TORCH_COMPILE_DISABLE": "1"}
PORT = 8000


def commands(begin: str) -> list[str]:
    """Those of the console that begin so, without their prompt."""
    every = [
        command.removeprefix("$ ")
        for kind, block in BLOCKS
        if kind == "console"
        for command in re.split(r"\n(?=\$ )", block.strip())
    ]
    return [command for command in every if command.startswith(begin)]


def programs(has: str) -> list[str]:
    return [block for kind, block in BLOCKS if kind == "python" and has in block]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands name."""
    folder = tmp_path_factory.mktemp("docs")
    [serve] = commands("vllm serve")
    model = folder / shlex.split(serve)[2]
    model.parent.mkdir(parents=True)
    export(model)
    shutil.copy(SAMPLES / "move.mp4", folder / "clip.mp4")
    (folder / "footage").mkdir()
    for name in ("move.mp4", "turn.mp4"):
        shutil.copy(SAMPLES / name, folder / "footage")
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[VllmServer]:
    with socket.socket() as asked:
        if asked.connect_ex(("127.0.0.1", PORT)) == 0:
            pytest.skip(f"the commands ask port {PORT}, where another program listens")
    [serve] = commands("vllm serve")
    started = VllmServer(
        place, place / "log.txt", environment=ON_CPU | WITHOUT_COMPILER, port=PORT,
        other=(*shlex.split(serve),),
    )  # fmt: skip
    with started:
        yield started


def run(place: Path, command: list[str]) -> str:
    """What a command prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **ON_CPU, **WITHOUT_COMPILER, "PATH": path}
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_is_run_here() -> None:
    run_here = [*commands("vllm serve"), *commands("curl"), *commands("dycoke "), *INSTALLED]
    assert sorted(run_here) == sorted(commands(""))
    assert len(programs("LLM(")) == sum(kind == "python" for kind, _ in BLOCKS) == 1


def test_the_engine(place: Path) -> None:
    [program] = programs("LLM(")
    assert run(place, [sys.executable, "-c", program]).strip()


def test_curl(place: Path, server: VllmServer) -> None:
    [command] = commands("curl")
    answer = json.loads(run(place, ["bash", "-c", command]))
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["prompt_tokens"] < 300, "a quarter of the video's 512, and the question"


def test_dycoke_itself(place: Path, server: VllmServer) -> None:
    for command in commands("dycoke "):
        assert run(place, ["bash", "-c", command]).strip() or "--out" in command
    lines = [json.loads(line) for line in (place / "answers.jsonl").read_text().splitlines()]
    assert sorted(Path(line["video"]).name for line in lines) == ["move.mp4", "turn.mp4"]
    assert all(line["answer"] and line["method"]["name"] == "evs" for line in lines)
