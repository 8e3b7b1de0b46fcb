"""`dycoke models pull` of files that the hub has in Xet, as it has most weights and tokenizers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands.test_pull import FILES, INFO, NEEDED, PULL, WEIGHTS, models, only
from tests.cli.harness import ROOT
from tests.hub import COMMIT, Hub, Repo

pytestmark = pytest.mark.slow
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
def hub() -> Iterator[Hub]:
    with Hub({"me/mine": Repo(dict(FILES), stored=STORED, xet=True)}) as running:
        yield running


def sent_by_xet(hub: Hub) -> int:
    return sum(path.startswith("/xet/v1/") for path in hub.asked)


@pytest.mark.extended
@pytest.mark.slow
def test_what_comes_by_xet_is_kept_and_found(hub: Hub, tmp_path: Path) -> None:
    pulled, again, shown = models(hub, tmp_path, PULL, PULL, INFO)
    assert (pulled.code, pulled.out, pulled.err) == (0, f"{COMMIT}\n", "")
    assert (again.code, again.err) == (0, "")
    assert sent_by_xet(hub) == len(STORED)
    assert [file for _, file, _ in hub.fetched] == ["config.json"]
    on_disk = only(shown)["on_disk"]
    assert on_disk["complete"]
    folder = Path(on_disk["revisions"][0]["folder"])
    assert sorted(path.name for path in folder.iterdir()) == NEEDED
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_an_environment_without_the_package_for_xet(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_XET)
    path = f"{tmp_path}:{ROOT / 'src'}:{ROOT}"
    pulled, shown = models(hub, tmp_path, PULL, INFO, PYTHONPATH=path)
    assert (pulled.code, pulled.out, pulled.err) == (0, f"{COMMIT}\n", "")
    assert sent_by_xet(hub) == 0
    assert sorted(file for _, file, _ in hub.fetched) == NEEDED
    folder = Path(only(shown)["on_disk"]["revisions"][0]["folder"])
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.extended
@pytest.mark.slow
def test_xet_that_refuses(hub: Hub, tmp_path: Path) -> None:
    hub.repos["me/mine"].passing = [403]
    refused, again = models(hub, tmp_path, PULL, PULL)
    assert (refused.code, refused.out) == (4, "")
    assert refused.err == (
        "Error: me/mine can't be downloaded from Xet, the hub's storage; try again later, or set "
        "HF_HUB_DISABLE_XET=1 to download it without (the files that are finished are kept)\n"
    )
    assert (again.code, again.out) == (0, f"{COMMIT}\n")
