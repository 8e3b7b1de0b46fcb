"""`dycoke models pull`, `info` and `rm`, in processes of their own, against a hub of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import (
    CLIP,
    PATIENCE_S,
    REAL,
    Outcome,
    run_in_terminal,
    run_process,
    run_several,
)
from tests.hub import COMMIT, Hub, Repo
from tests.imports import python_path
from tests.marks import EXTENDED

pytestmark = pytest.mark.slow
CONFIG = (
    b'{"model_type": "qwen2_vl", "dtype": "bfloat16",'
    b' "text_config": {"hidden_size": 1536}, "vision_config": {"depth": 32}}'
)
WEIGHTS = bytes(range(256)) * 4000
FILES = {
    "README.md": b"words",
    "config.json": CONFIG,
    "model.safetensors": WEIGHTS,
    "onnx/model.safetensors": b"for another program",
    "pytorch_model.bin": b"in another format",
    "tokenizer.json": b"{}",
}
NEEDED = ["config.json", "tokenizer.json", "model.safetensors"]  # in this order
NAME, REPO = "qwen2-vl-2b", "Qwen/Qwen2-VL-2B-Instruct"
READ = (
    "from dycoke_cli.models.resolve import find, read_config\n"
    "print(read_config(find('me/mine'))[1].name)"
)
FIRST = (
    "from dycoke_cli.models.files.hub import pull\n"
    "from dycoke_cli.models.resolve import find\n"
    "pull(find('me/mine'))"
)
OFFLINE = {"HF_HUB_OFFLINE": "1"}
INFO, PULL = ["info", "me/mine", "--json"], ["pull", "me/mine", "--quiet"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    repos = {
        "me/mine": Repo(dict(FILES)),
        "me/gated": Repo(dict(FILES), gated=True),
        "me/ill": Repo(dict(FILES), status=500),
        "me/old": Repo({"config.json": CONFIG, "pytorch_model.bin": b"1234"}),
        REPO: Repo(dict(FILES)),
    }
    with Hub(repos) as running:
        yield running


def models(hub: Hub, home: Path, *commands: list[str], **environment: str) -> list[Outcome]:
    """Run `dycoke models …` once for each of `commands`, in one process."""
    named = (["models", *command] for command in commands)
    return run_several(*named, **hub.environment(home) | environment)


def only(outcome: Outcome) -> dict[str, Any]:
    """The one model of a `dycoke.models/1` object."""
    assert outcome.object["schema"] == "dycoke.models/1"
    (model,) = outcome.object["models"]
    return model


def test_pull_brings_what_loading_reads_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    info = ["info", NAME, "--json"]
    run, shown, listed, again = models(
        hub, tmp_path, ["pull", NAME], info, ["--json"], ["pull", NAME, "--quiet"]
    )
    assert (run.code, run.out) == (0, f"{COMMIT}\n")
    assert f"downloading {NAME} (4.42 GB)" in run.err
    assert f"{NAME} is on this machine, in " in run.err
    assert [file for _, file, _ in hub.fetched] == NEEDED
    assert (again.code, again.out, again.err) == (0, f"{COMMIT}\n", "")
    (row,) = [one for one in listed.object["models"] if one["name"] == NAME]
    assert row["on_disk"]["complete"]
    model = only(shown)
    assert model["on_disk"]["complete"]
    assert model["on_disk"]["commit"] == COMMIT
    folder = Path(model["on_disk"]["folder"])
    assert {path.name for path in folder.iterdir()} == {*NEEDED}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.extended
def test_a_model_that_is_here_stays_until_it_is_pulled_again(hub: Hub, tmp_path: Path) -> None:
    mine = hub.repos["me/mine"]
    assert models(hub, tmp_path, PULL)[0].code == 0
    mine.commit = "f" * 40
    mine.files["model.safetensors"] = bytes(1000)
    hub.asked.clear()
    reading = [sys.executable, "-c", READ]
    assert run_process(reading, **hub.environment(tmp_path)).out == f"{COMMIT}\n"
    assert not [path for path in hub.asked if "main" in path or "f" * 40 in path]
    mine.passing = [500] * 9
    assert models(hub, tmp_path, PULL)[0].code == 4
    assert run_process(reading, **hub.environment(tmp_path)).out == f"{COMMIT}\n"
    mine.passing = []
    again, listed = models(hub, tmp_path, PULL, INFO)
    assert again.out == f"{mine.commit}\n"
    assert only(listed)["on_disk"]["commit"] == mine.commit


@pytest.mark.extended
def test_a_connection_that_breaks_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    # The hub client counts what has come in pieces of 10 MiB.
    weights = bytes(24_000_000)
    hub.repos["me/mine"].files["model.safetensors"] = weights
    hub.repos["me/mine"].cut = {"model.safetensors"}
    run, shown = models(hub, tmp_path, PULL, INFO)
    assert (run.code, run.err) == (0, "")
    starts = [start for _, file, start in hub.fetched if file == "model.safetensors"]
    assert starts == [0, 10 * 1024**2]
    folder = Path(only(shown)["on_disk"]["folder"])
    assert (folder / "model.safetensors").read_bytes() == weights


@pytest.mark.extended
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_finished_files_are_not_fetched_again(
    hub: Hub, tmp_path: Path, number: signal.Signals
) -> None:
    hub.repos["me/mine"].slow = {"model.safetensors"}
    process = subprocess.Popen(
        [*REAL, "models", "pull", "me/mine"],
        env={**os.environ, **hub.environment(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert hub.halted.wait(PATIENCE_S)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    killed = number == signal.SIGKILL
    assert (process.returncode, out) == (-number if killed else 130, b"")
    assert killed or err.endswith(b"Interrupted\n")
    # A part of a file can't be resumed: one that is left is removed by the next download.
    assert len(list(tmp_path.rglob("*.incomplete"))) == killed
    hub.repos["me/mine"].slow = set()
    before = len(hub.fetched)
    asked = run_process([sys.executable, "-c", FIRST], **hub.environment(tmp_path), **OFFLINE)
    assert "me/mine isn't on this machine, or not all of it," in asked.err
    part, listed, done, whole = models(hub, tmp_path, INFO, ["info", "me/mine"], PULL, INFO)
    assert not only(part)["on_disk"]["complete"]
    assert "(not all of it)" in " ".join(listed.out.split())
    assert done.code == 0
    assert [file for _, file, _ in hub.fetched[before:]] == ["model.safetensors"]
    assert not list(tmp_path.rglob("*.incomplete"))
    assert only(whole)["on_disk"]["complete"]


@pytest.mark.extended
def test_files_behind_a_redirect_and_a_login(hub: Hub, tmp_path: Path) -> None:
    """Large files are elsewhere, where no login is sent; a hub that is busy is asked again."""
    mine = hub.repos["me/mine"]
    mine.gated, mine.stored, mine.passing = True, (".safetensors",), [429]
    hub.tokens = {"hf_mine"}
    asked = models(hub, tmp_path, PULL, HF_TOKEN="hf_other")[0]
    assert (asked.code, asked.out) == (4, "")
    assert "me/mine is gated: accept its licence" in asked.err
    done, listed = models(hub, tmp_path, PULL, INFO, HF_TOKEN="hf_mine")
    assert (done.code, done.err) == (0, "")
    folder = Path(only(listed)["on_disk"]["folder"])
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not hub.leaked


def test_what_cannot_be_pulled(hub: Hub, tmp_path: Path) -> None:
    sentences = {
        ("me/none",): "the hub has no model 'me/none', or shows it to others alone",
        ("me/gated",): "me/gated is gated: accept its licence",
        ("me/mine", "--revision", "v9"): "me/mine has no such revision; give a branch, tag",
        ("me/old",): "me/old has no safetensors weights",
        ("me/ill",): "the hub doesn't serve me/ill now (HTTP status 500); try again later",
        ("no-such-name",): "there is no model 'no-such-name'",
        # It is pulled all the same.
        (
            "me/kernels",
        ): "me/kernels can't be loaded: its config.json asks for kernels from the hub, "
        "which are never run; take use_kernels out",
    }
    kernels = b'{"use_kernels": true, "model_type": "qwen2_vl"}'
    hub.repos["me/kernels"] = Repo(FILES | {"config.json": kernels})
    pulls = (["pull", *arguments, "--quiet"] for arguments in sentences)
    *runs, shown = models(hub, tmp_path, *pulls, ["info", "me/kernels"])
    assert shown.code == 0
    for run, sentence in zip(runs, sentences.values(), strict=True):
        assert (run.code, run.out) == (4, "")
        assert run.err.startswith("Error: ")
        assert len(run.err.splitlines()) == 1
        assert sentence in run.err


def pulled(names: Sequence[str]) -> list[list[str]]:
    return [["models", "pull", f"ill/{name}", "--quiet"] for name in names]


def estimated(names: Sequence[str]) -> list[list[str]]:
    return [["ask", str(CLIP), "--estimate", "--model", f"ill/{name}"] for name in names]


@pytest.mark.parametrize(
    "commands",
    # An estimate imports torch first.
    [pulled, pytest.param(estimated, marks=EXTENDED)],
)
def test_a_hub_writes_nothing_outside_its_cache(
    hub: Hub, tmp_path: Path, commands: Callable[[Sequence[str]], list[list[str]]]
) -> None:
    away = f"{tmp_path}/away"
    ill: dict[str, dict[str, Any]] = {
        "absolute": {"headers": {"ETag": away}},
        "quoted": {"headers": {"ETag": f'W/"{away}"'}},
        "upwards": {"headers": {"ETag": '"../../../../away"'}},
        "linked": {"headers": {"X-Linked-Etag": away}},
        "commit": {"headers": {"X-Repo-Commit": away}},
        "parent": {"headers": {"X-Repo-Commit": ".."}},
        "document": {"commit": "../../../../away"},
        "name": {"names": {"tokenizer.json": "../../../../../away.json"}},
        "whole": {"names": {"tokenizer.json": f"{away}.json"}},
    }
    hub.repos |= {f"ill/{name}": Repo(dict(FILES), **how) for name, how in ill.items()}
    home = tmp_path / "home"
    home.mkdir()
    for run in run_several(*commands([*ill]), **hub.environment(home)):
        assert (run.code, run.out) == (4, "")
        assert "Error: the hub names a file outside its cache ('" in run.err
        assert "which is never written; check HF_ENDPOINT" in run.err
    read_first = {"config.json"} if commands is estimated else set()
    assert {file for _, file, _ in hub.fetched} <= read_first
    assert list(tmp_path.iterdir()) == [home]


@pytest.mark.parametrize(
    "environment",
    [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}],
)
def test_without_the_hub(hub: Hub, tmp_path: Path, environment: dict[str, str]) -> None:
    run, listed = models(hub, tmp_path, PULL, ["--json"], **environment)
    assert (run.code, run.out) == (4, "")
    assert "me/mine isn't on this machine and the hub can't be reached" in run.err
    assert (listed.code, listed.err) == (0, "")


@pytest.mark.extended
def test_a_commit_can_be_pulled(hub: Hub, tmp_path: Path) -> None:
    run, shown = models(hub, tmp_path, [*PULL, "--revision", COMMIT], INFO)
    assert (run.code, run.out) == (0, f"{COMMIT}\n")
    assert only(shown)["on_disk"]["commit"] == COMMIT


def test_pull_on_a_terminal(hub: Hub, tmp_path: Path) -> None:
    code, seen, out = run_in_terminal(
        [*REAL, "models", "pull", "me/mine"],
        streams="err",
        environment=hub.environment(tmp_path),
    )
    assert (code, out) == (0, f"{COMMIT}\n".encode())
    # The client's bars are as wide as the terminal, and that of the tests has no size.
    assert b"downloading me/mine" in seen


# Of files that the hub has in Xet, as it has most weights and tokenizers.
STORED = ("model.safetensors", "tokenizer.json")
NO_XET = """
from importlib import metadata
given = metadata.version
def version(name):
    if name.replace("-", "_") == "hf_xet":
        raise metadata.PackageNotFoundError(name)
    return given(name)
metadata.version = version
"""


@pytest.fixture
def xet_hub() -> Iterator[Hub]:
    with Hub({"me/mine": Repo(dict(FILES), stored=STORED, xet=True)}) as running:
        yield running


def sent_by_xet(hub: Hub) -> int:
    return sum(path.startswith("/xet/v1/") for path in hub.asked)


@pytest.mark.extended
def test_what_comes_by_xet_is_kept_and_found(xet_hub: Hub, tmp_path: Path) -> None:
    pulled, again, shown = models(xet_hub, tmp_path, PULL, PULL, INFO)
    assert (pulled.code, pulled.out, pulled.err) == (0, f"{COMMIT}\n", "")
    assert (again.code, again.err) == (0, "")
    assert sent_by_xet(xet_hub) == len(STORED)
    assert [file for _, file, _ in xet_hub.fetched] == ["config.json"]
    on_disk = only(shown)["on_disk"]
    assert on_disk["complete"]
    folder = Path(on_disk["folder"])
    assert {path.name for path in folder.iterdir()} == {*NEEDED}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_an_environment_without_the_package_for_xet(xet_hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_XET)
    pulled, shown = models(xet_hub, tmp_path, PULL, INFO, PYTHONPATH=python_path(tmp_path))
    assert (pulled.code, pulled.out, pulled.err) == (0, f"{COMMIT}\n", "")
    assert sent_by_xet(xet_hub) == 0
    assert [file for _, file, _ in xet_hub.fetched] == NEEDED
    folder = Path(only(shown)["on_disk"]["folder"])
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.extended
def test_xet_that_refuses(xet_hub: Hub, tmp_path: Path) -> None:
    xet_hub.repos["me/mine"].passing = [403]
    refused, again = models(xet_hub, tmp_path, PULL, PULL)
    assert (refused.code, refused.out) == (4, "")
    assert refused.err == (
        "Error: me/mine can't be downloaded from Xet, the hub's storage; try again later, or set "
        "HF_HUB_DISABLE_XET=1 to download it without (the files that are finished are kept)\n"
    )
    assert (again.code, again.out) == (0, f"{COMMIT}\n")
