"""What a download may meet on this machine; tests/cli/commands/test_pull.py has the hub's side."""

import errno
from types import SimpleNamespace

import pytest
from filelock import FileLock

from dycoke_cli.errors import ModelError, OutputError
from dycoke_cli.models.catalog import find
from dycoke_cli.models.files import hub
from dycoke_cli.models.files.hub import pull

COMMIT = "c" * 40


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A model of which all but the weights is here."""
    folder = tmp_path / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(
        "huggingface_hub.HfApi.model_info", lambda *_, **__: SimpleNamespace(sha=COMMIT)
    )
    monkeypatch.setattr(hub, "model_folder", lambda source, revision: folder)
    return find("me/mine")


def test_parts_of_files_are_removed_unless_they_are_being_written(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    blobs, locks = tmp_path / "models--me--mine/blobs", tmp_path / ".locks/models--me--mine"
    blobs.mkdir(parents=True)
    # A file; a part that an old client resumes; two parts, one of them of a download elsewhere.
    for name in ("aa", "bb.incomplete", "cc.0123abcd.incomplete", "dd.0123abcd.incomplete"):
        (blobs / name).write_bytes(b"1")
    locks.mkdir(parents=True)
    with FileLock(locks / "dd.lock"):
        hub._remove_partial_files("me/mine")
    left = sorted(path.name for path in blobs.iterdir())
    assert left == ["aa", "bb.incomplete", "dd.0123abcd.incomplete"]
    hub._remove_partial_files("me/mine")
    assert sorted(path.name for path in blobs.iterdir()) == left[:2]
    hub._remove_partial_files("me/other")


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left"), OutputError, "the disk is full; free some space"),
        (
            RuntimeError("Task error: IO Error: No space left on device (os error 28)"),
            OutputError,
            "the disk is full; free some space",
        ),
        (RuntimeError("Task error: CAS Client Error"), ModelError, "can't be downloaded from Xet"),
        (ConnectionResetError(), ModelError, "isn't on this machine and the hub can't be"),
        (TimeoutError(), ModelError, "isn't on this machine and the hub can't be"),
        (OSError(errno.EACCES, "Permission denied"), ModelError, "its files can't be read"),
        (KeyError("no such thing"), ModelError, "its files can't be read"),
    ],
)
def test_what_may_happen_while_it_downloads(mine, monkeypatch, error, kind, sentence):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(kind, match=sentence):
        pull(mine)


def test_what_is_missing_is_fetched_by_its_commit(mine, monkeypatch):
    fetched, named = [], []
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download",
        lambda repo, name, *, revision: fetched.append((name, revision)),
    )
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda repo, *, revision, **_: named.append(revision)
    )
    assert pull(mine, "v1").name == COMMIT
    assert fetched == [("model.safetensors", COMMIT)]
    assert named == ["v1"]  # by its name, so that it is known without the hub
