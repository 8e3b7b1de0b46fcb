"""Captions that were written, told from those that somebody edited or another program wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dycoke_cli.ask import Footage
from dycoke_cli.runs.caption_files import KEYS, SENTENCES, OneFile, TextFiles
from dycoke_cli.storage.cache_folder import ENVIRONMENT
from dycoke_cli.storage.made_files import MadeFiles, hash_of, note


@pytest.mark.parametrize("name", ["", "all.json", "all.jsonl"])
def test_a_caption_that_was_edited_is_not_the_one_that_was_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))
    videos = [Footage(str(tmp_path / video), video, video) for video in ("a.mp4", "b.mp4")]
    files = OneFile(tmp_path / name, KEYS, videos, absolute=False) if name else TextFiles()

    def ways(video: int) -> set[bytes]:
        """How the caption that is there was made, if it were that of a video."""
        return MadeFiles().ways(*files.place(videos[video]), files.current(videos[0]))

    sentences = {SENTENCES: [{"text": "A dog.", "probability": 0.9}]}
    for caption, more in (("A dog.", sentences), ("My dog.", {}), ("A dog.", {})):
        if more:
            note(*files.place(videos[0]), caption, "way")
        files.write(videos[0], caption, more, lambda there: True)
        files.save()
        assert ways(0) == ({hash_of("way")} if caption == "A dog." else set())
        assert ways(1) == set()
        if name:  # the sentences of an earlier caption go with it
            row = json.loads((tmp_path / name).read_text().strip().strip("[]"))
            assert row == {"video_path": "a.mp4", "caption": caption, **more}
    if not name:
        (tmp_path / "a.txt").unlink()
        assert ways(0) == set()
