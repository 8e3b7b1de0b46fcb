"""Suppression of progress bars, warnings and log messages of libraries."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger

from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging

from dycoke_cli.errors import debugging


def silence_libraries() -> None:
    """Silence `transformers`, and warnings of all libraries, for the rest of the process.

    In debugging mode it does nothing.
    """
    if debugging():
        return
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    # If torchao is installed, torch logs a warning for each class that it registers.
    getLogger("torch.utils._pytree").setLevel(ERROR)


# bitsandbytes logs missing kernels, accelerate the placement of a model.
_OTHERS = [getLogger(name) for name in ("accelerate", "bitsandbytes")]


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence `transformers`, the hub client and the loaders of weights within the block."""
    levels = [logger.level for logger in _OTHERS]
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_verbosity = hub_logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    for logger in _OTHERS:
        logger.setLevel(ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        for logger, level in zip(_OTHERS, levels, strict=True):
            logger.setLevel(level)
        if bars:
            logging.enable_progress_bar()
