"""What the tests of an engine and those of a server share."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def own() -> Any:
    """Dycoke's own answers."""
    from own_answers import OwnAnswers

    return OwnAnswers()
