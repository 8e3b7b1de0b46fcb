"""docs/serve.md: its commands run, in one server with the bundled model; answers equal `ask`'s."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.cli.harness import understood
from tests.forms import NEEDS_LIBRARY
from tests.pages import blocks
from tests.server.real import PATIENCE_S, serving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
QUESTION = "What does the blue star do?"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="no signals")]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("serve")
    [command] = blocks("sh server", PAGE)
    program, serve, *flags = shlex.split(command.replace("--port 8000", "--port 0"))
    assert (program, serve) == ("dycoke", "serve")
    with serving(folder, flags) as (url, process):
        yield url.removesuffix("/v1")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    # Behind the address stands what seals the decoder, on a machine that has it.
    behind = (folder / "stderr").read_text().partition(f"{url}\n")[2]
    assert all(line.startswith(("Videos are ", "Try it ")) for line in behind.splitlines())


def ask_cold(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "dycoke_cli", "ask", *arguments, "--json", "--quiet"]
    return json.loads(warm.run(command, cwd=ROOT, capture_output=True, check=True).stdout)


def run_python(address: str) -> list[str]:
    """The lines that the blocks print, one after the other in one program."""
    kinds = ("request", "form", "responses", "decisions")
    script = "".join(block for kind in kinds for block in blocks(f"python {kind}", PAGE))
    script = script.replace("http://127.0.0.1:8000", address)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def shell(script: str, address: str) -> bytes:
    script = script.replace("http://127.0.0.1:8000", address)
    return subprocess.run(
        ["bash", "-ec", script], cwd=ROOT, capture_output=True, check=True, timeout=PATIENCE_S
    ).stdout


def test_curl(address: str) -> None:
    asking, others = blocks("sh request", PAGE)
    reply = json.loads(shell(asking, address))
    cold = ask_cold("sample_videos/move.mp4", QUESTION, "--method", "dycoke-plus:retain=0.25")
    assert reply["choices"][0]["message"]["content"] == cold["answer"]
    assert reply["usage"]["dycoke"]["method"] == cold["method"]
    assert reply["usage"]["dycoke"]["tokens"] == cold["tokens"]
    got = shell(others, address).decode()
    assert '"id": "mini"' in got or '"id":"mini"' in got
    assert 'dycoke_answers_total{method="dycoke-plus"} 1' in got


@NEEDS_LIBRARY
@pytest.mark.extended
def test_the_client_of_openai(address: str) -> None:
    """The second answer by `/v1/responses` is that of a conversation about a prefilled video."""
    expected = list[str]()
    for method in ("none", "dycoke-plus:retain=0.25"):
        cold = ask_cold("sample_videos/move.mp4", QUESTION, "--method", method, "--frames", "16")
        dropped = cold["tokens"]["visual"] - cold["tokens"]["visual_kept"]
        expected.append(f"{cold['answer']}{dropped} visual tokens dropped")
    *plain, form, first, second, told = run_python(address)
    assert plain == expected
    assert json.loads(form)["what"].startswith("The blue star ")
    command = [sys.executable, "-m", "dycoke_cli", "ask", "sample_videos/move.mp4", "--follow-up"]
    command += ["-q", QUESTION, "-q", "What colour is the star?", "--json", "--quiet"]
    lines = warm.run(command, cwd=ROOT, capture_output=True, check=True).stdout.splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    assert [first, second] == [answers[0], f"{answers[1]} True"]
    star, *moves, shapes = told.split()
    assert moves == ["moves", "up"]
    cold = ask_cold("sample_videos/move.mp4", "How many shapes are there?", "--score", "1-5")
    assert int(shapes) == round(cold["mean"])
    [command] = blocks("sh systemone", PAGE)
    reply = json.loads(shell(command, address))
    assert round(reply["answers"]["star"]["noul"], 3) == float(star)
    cold = ask_cold("sample_videos/move.mp4", "Is there a blue star?", "--yes-no")
    assert round(cold["probabilities"]["yes"], 3) == float(star)


def test_llm(address: str, tmp_path: Path) -> None:
    """Streamed and whole: what the server says to the question without a video."""
    if shutil.which("llm") is None:
        pytest.skip("llm isn't installed: `pipx install llm`")
    [settings], [command] = blocks("yaml llm", PAGE), blocks("sh llm", PAGE)
    (tmp_path / "extra-openai-models.yaml").write_text(
        settings.replace("http://127.0.0.1:8000", address)
    )
    body = {"messages": [{"role": "user", "content": "What colour is the star?"}]}
    kind = "-H 'Content-Type: application/json'"
    plain = shell(f"curl -s {address}/v1/chat/completions {kind} -d '{json.dumps(body)}'", address)
    expected = json.loads(plain)["choices"][0]["message"]["content"]
    for more in ("", " --no-stream"):
        done = subprocess.run(
            ["bash", "-ec", command.strip() + more],
            env={**os.environ, "LLM_USER_PATH": str(tmp_path)},
            capture_output=True,
            timeout=PATIENCE_S,
        )
        assert (done.returncode, done.stdout.decode().strip()) == (0, expected.strip()), done.stderr


@pytest.mark.extended
def test_a_warm_ask(tmp_path: Path) -> None:
    [commands] = blocks("sh warm", PAGE)
    start, ask, batch = commands.splitlines()
    with tempfile.TemporaryDirectory() as folder:  # short, as paths of sockets must be
        names = {"DYCOKE_RUNTIME": f"{folder}/run"}
        flags = shlex.split(start)[2:]
        with serving(tmp_path, flags, **names):
            done = [
                subprocess.run(
                    [sys.executable, "-m", "dycoke_cli", *shlex.split(command)[1:]],
                    cwd=ROOT,
                    env={**os.environ, **names},
                    capture_output=True,
                    timeout=PATIENCE_S,
                )
                for command in (ask, batch)
            ]
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert done[0].stdout == b"The blue star moves up.\n"
    assert len(done[1].stdout.splitlines()) == 2
    assert not any(b"without your server" in one.stderr for one in done)


def test_the_unit_of_systemd(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze isn't installed")
    """As pasted, of a `dycoke` anywhere on PATH."""
    [pasted] = blocks("bash unit", PAGE)
    installed, systemctl = (tmp_path / "my tools" / name for name in ("dycoke", "systemctl"))
    installed.parent.mkdir()
    for program in (installed, systemctl):
        program.write_text('#!/bin/sh\necho "$@" > "$0.ran"\n')
        program.chmod(0o755)
    place = {"HOME": str(tmp_path), "PATH": f"{installed.parent}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-ec", pasted], env=place, check=True)
    assert Path(f"{systemctl}.ran").read_text() == "--user enable --now dycoke\n"
    path = tmp_path / ".config" / "systemd" / "user" / "dycoke.service"
    [command] = re.findall(r"^ExecStart=(.*)$", path.read_text(), re.MULTILINE)
    assert shlex.split(command)[0] == str(installed)
    assert understood(shlex.split(command)[1:])
    verified = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
