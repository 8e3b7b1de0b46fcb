"""Captions that were written, told from those that somebody edited or another program wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dycoke_cli.ask import Footage
from dycoke_cli.runs.caption_files import KEYS, SENTENCES, OneFile, TextFiles, WrittenCaptions
from dycoke_cli.storage.cache_folder import ENVIRONMENT


@pytest.mark.parametrize("name", ["", "all.json", "all.jsonl"])
def test_a_caption_that_was_edited_is_not_the_one_that_was_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))
    videos = [Footage(str(tmp_path / video), video, video) for video in ("a.mp4", "b.mp4")]
    files = OneFile(tmp_path / name, KEYS, videos, absolute=False) if name else TextFiles()

    def written() -> tuple[bool, bool, bool]:
        """Whether it is there as it was made, and edited; and whether it is one of the other."""
        notes, current = WrittenCaptions(files, videos), files.current(videos[0])
        assert not notes.has("another way")
        return notes.has("way"), *(notes.edited(video, current or "") for video in videos)

    sentences = {SENTENCES: [{"text": "A dog.", "probability": 0.9}]}
    for caption, more in (("A dog.", sentences), ("My dog.", {}), ("A dog.", {})):
        if more:
            WrittenCaptions(files, videos).note(videos[0], caption, "way")
        files.write(videos[0], caption, more, lambda there: True)
        files.save()
        assert written() == (caption == "A dog.", caption != "A dog.", True)
        if name:  # the sentences of an earlier caption go with it
            row = json.loads((tmp_path / name).read_text().strip().strip("[]"))
            assert row == {"video_path": "a.mp4", "caption": caption, **more}
    if not name:
        (tmp_path / "a.txt").unlink()
        assert written() == (False, True, True)
