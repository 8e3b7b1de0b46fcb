"""The log of a server in the background: another user's file isn't emptied through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dycoke_cli.cli.commands.serve import detached
from dycoke_cli.errors import OutputError


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_log_that_is_a_link_is_left_alone(tmp_path: Path, monkeypatch) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("kept")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "serve.log").symlink_to(theirs)
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(OutputError, match="is a link; remove it"), detached(print, wanted=True):
        pytest.fail("it began")
    assert theirs.read_text() == "kept"
