"""Two users of one machine, each with a server: real processes of root and of nobody."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import dycoke_cli
from tests import warm
from tests.cli.harness import CLIP, PATIENCE_S, Outcome

pytestmark = pytest.mark.slow
ROOT_USER, NOBODY = 0, 65534
ASK = ("ask", str(CLIP), "What?", "--frames", "2", "--max-tokens", "2", "--quiet")
ONE_SENTENCE = re.compile(r"Error: [^\n]+\n")


@dataclass(frozen=True)
class User:
    """A user of the machine, with the environment of a login."""

    number: int  # of the user
    place: Path  # has the home, and the folder for temporary files that all share
    python: str  # that every user can run

    @property
    def home(self) -> Path:
        return self.place / f"home-{self.number}"

    def start(self, *arguments: str, **environment: str) -> warm.Popen:
        own = {"HOME": str(self.home), "TMPDIR": str(self.place / "tmp")}
        # Libraries, but the interpreter's own modules are those of the one that runs.
        libraries = [p for p in sys.path if p and not Path(p).is_relative_to(sys.base_prefix)]
        own["PYTHONPATH"] = os.pathsep.join(libraries)
        shared = {name: text for name, text in os.environ.items() if name[:6] != "DYCOKE"}
        return warm.Popen(
            [self.python, *arguments],
            python=self.python,
            env={**shared, **own, **environment},
            cwd="/",
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **({} if self.number == ROOT_USER else _as(self.number)),
        )

    def run(self, *arguments: str, **environment: str) -> Outcome:
        with self.start("-m", "dycoke_cli", *arguments, **environment) as process:
            out, err = process.communicate(timeout=PATIENCE_S)
        return Outcome(process.returncode, out, err)

    @contextmanager
    def serving(self) -> Iterator[int]:
        """A server; yields its port."""
        with self.start("-m", "dycoke_cli", "serve", "--port", "0") as process:
            try:
                said = list[str]()
                while not (said and said[-1].startswith("Serving ")):
                    said.append(process.stderr.readline())
                    assert said[-1], said
                yield int(said[-1].rpartition(":")[2].partition("/")[0])
            finally:
                process.terminate()


@pytest.fixture
def users() -> Iterator[tuple[User, User]]:
    if not hasattr(os, "geteuid") or os.geteuid() != ROOT_USER:
        pytest.skip("only root can start processes of two users")
    # pytest's folder is closed to others.
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "tmp").mkdir()
        (place / "tmp").chmod(0o1777)
        system = shutil.which(f"python{sys.version_info[0]}.{sys.version_info[1]}", path="/usr/bin")
        python = next(filter(_can_run, filter(None, (sys.executable, system))), None)
        if python is None:
            pytest.skip("nobody can't run this Python with its libraries: closed to others")
        both = User(ROOT_USER, place, python), User(NOBODY, place, python)
        for user in both:
            user.home.mkdir(0o700)
            os.chown(user.home, user.number, user.number)
        yield both


def _as(user: int) -> dict[str, Any]:
    return {"user": user, "group": user, "extra_groups": []}


def _can_run(python: str) -> bool:
    """Whether nobody can, and read the program and its libraries."""
    read = [torch.__file__, dycoke_cli.__file__, str(CLIP)]
    command = [python, "-c", f"for name in {read}: open(name)"]
    try:
        return not subprocess.run(
            command, cwd="/", stderr=subprocess.DEVNULL, **_as(NOBODY)
        ).returncode
    except PermissionError:
        return False


def answered(port: int) -> int:
    """Questions that a server has answered."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        counts = re.findall(
            r'^dycoke_requests_total\{status="200"\} (\d+)', reply.read().decode(), re.M
        )
    return sum(map(int, counts))


def test_each_uses_what_is_their_own(users: tuple[User, User]) -> None:
    root, nobody = users
    with ExitStack() as stack:
        first = stack.enter_context(root.serving())
        taken = nobody.run("serve", "--port", str(first))
        assert (taken.code, taken.out) == (6, "")
        assert ONE_SENTENCE.fullmatch(taken.err), taken.err
        assert "choose another --port" in taken.err
        second = stack.enter_context(nobody.serving())
        assert nobody.run(*ASK).code == 0
        assert (answered(first), answered(second)) == (0, 1)
        assert root.run(*ASK).code == 0
        assert (answered(first), answered(second)) == (1, 1)
    owners = {path: path.stat().st_uid for user in users for path in user.home.rglob("*")}
    assert owners == {path: 0 if root.home in path.parents else NOBODY for path in owners}


def test_a_cache_of_another_user_is_refused_and_the_settings_too(users: tuple[User, User]) -> None:
    root, nobody = users
    shared = root.place / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    assert root.run(*ASK, "--cache", DYCOKE_CACHE=str(shared)).code == 0
    others = {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()}
    assert others
    refused = nobody.run(*ASK, "--cache", DYCOKE_CACHE=str(shared))
    assert (refused.code, refused.out) == (6, "")
    assert "belongs to another user, who could change what is kept there" in refused.err
    assert nobody.run(*ASK, DYCOKE_CACHE=str(shared)).code == 0
    assert {path: path.read_bytes() for path in others} == others
