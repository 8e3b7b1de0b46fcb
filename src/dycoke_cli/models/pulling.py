"""Downloads a model into the hub client's cache.

Files come one after the other, each moved into place when it is whole. What was finished when a
download broke off is kept; the file it was at begins anew, for the hub client doesn't keep parts.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any

from dycoke_cli.models.download_plan import Plan
from dycoke_cli.models.pull_errors import pull_explained

_CONFIG = "config.json"


def pull(planned: Plan, on_bytes: Callable[[int], None]) -> None:
    """Download what is missing.

    Args:
        planned: what to fetch.
        on_bytes: called with the bytes that have come so far, of all missing files.

    Raises:
        ModelError: the hub can't be reached, or wants a login; what is finished is kept.
        OutputError: the disk is full.
    """
    from huggingface_hub import hf_hub_download

    repo, done = planned.source.location, 0
    with pull_explained(planned.source), _quiet(), open(os.devnull, "w") as nowhere:
        for file in planned.missing:
            bar = _counting(partial(_add, on_bytes, done), nowhere)
            hf_hub_download(repo, file.name, revision=planned.commit, tqdm_class=bar)
            done += file.bytes
            on_bytes(done)
        # By the name that was asked for: from now on it is found without the hub, too.
        hf_hub_download(repo, _CONFIG, revision=planned.revision)


def _add(on_bytes: Callable[[int], None], before: int, come: int) -> None:
    on_bytes(before + come)


def _counting(on_bytes: Callable[[int], None], nowhere: IO[str]) -> type:
    """A class of bars for the hub client that shows nothing, and says how far one file is.

    Args:
        on_bytes: called with the bytes of the file that have come.
        nowhere: where the bars are drawn.
    """
    from tqdm import tqdm

    bars: list[Any] = []

    class Counting(tqdm):
        monitor_interval = 0  # no thread beside it

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "file": nowhere})
            bars.append(self)

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            # Some files have two: bytes that were received, and bytes that were written.
            on_bytes(int(max(bar.n for bar in bars)))
            return shown

    return Counting


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the hub client: what matters becomes our error."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
