"""Decoders start fast."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import warm


@pytest.fixture(scope="module", autouse=True)
def decoders() -> Iterator[None]:
    """Those of this process; others are started as a user's are."""
    with warm.decoders():
        yield
