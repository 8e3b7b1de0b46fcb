"""A pytest plugin for `make test-processors`: the tests run as on another processor.

With `--processor unpacked` no weights can be packed, and with `emulated` there are no instructions
for bfloat16. All else is this processor's. What is pretended holds in
this process and in those that are forked from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processor", choices=("unpacked", "emulated"), required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Replace the functions before any module imports them by their names."""
    if config.getoption("--processor") == "unpacked":
        from dycoke_cli.kernels import linear

        linear.can_pack = _always(False)
        return
    from dycoke_cli.kernels import processor

    processor.instructions = _always(["avx2"])


def _always(value: Any) -> Callable[[], Any]:
    return lambda: value
