"""Marks that many tests have."""

from __future__ import annotations

import pytest

EXTENDED = (pytest.mark.extended, pytest.mark.slow)
"""Of what only `make test-extended` runs."""
