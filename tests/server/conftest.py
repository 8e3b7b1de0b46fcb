"""A server over its socket, its model pretended, and OpenAI's client of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import openai

    from tests.server.pretended import Running


@pytest.fixture
def options() -> dict[str, Any]:
    """Of the server; a file of tests may have a fixture of its own."""
    return {}


@pytest.fixture
def server(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """Its model answers with the question."""
    from tests.server.pretended import running

    with running(monkeypatch, **options) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with server.client() as client:
        yield client
