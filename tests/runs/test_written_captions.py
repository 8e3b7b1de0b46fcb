"""Captions that were written, told from those that somebody edited or another program wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycoke_cli.ask import Footage
from dycoke_cli.runs.caption_files import CaptionFiles
from dycoke_cli.storage.cache_folder import ENVIRONMENT
from dycoke_cli.storage.made_files import MadeFiles, hash_of, note


def test_a_caption_that_was_edited_is_not_the_one_that_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))
    videos = [Footage(str(tmp_path / video), video, video) for video in ("a.mp4", "b.mp4")]
    files = CaptionFiles()

    def ways(video: int) -> set[bytes]:
        """How the caption that is there was made, if it were that of a video."""
        return MadeFiles().ways(files.path(videos[video]), files.current(videos[0]))

    note(files.path(videos[0]), "A dog.", "way")
    for caption in ("A dog.", "My dog.", "A dog."):
        files.write(videos[0], caption, lambda there: True)
        assert ways(0) == ({hash_of("way")} if caption == "A dog." else set())
        assert ways(1) == set()
    (tmp_path / "a.txt").unlink()
    assert ways(0) == set()
