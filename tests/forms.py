"""Tests of answers of a given form run where the library for it is installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

NEEDS_LIBRARY = pytest.mark.skipif(
    find_spec("llguidance") is None, reason="forms of answers need the extra schema (llguidance)"
)
