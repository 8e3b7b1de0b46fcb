"""Questions to an engine whose model pretends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loop.asking import Asking


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    return Asking(tmp_path, monkeypatch)
