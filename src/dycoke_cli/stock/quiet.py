"""torch, transformers and their dependencies: imported faster, and without their messages.

None of them is imported by importing this.
"""

from __future__ import annotations

import atexit
import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger

from dycoke_cli.errors import debugging


def silence_libraries() -> None:
    """Silence `transformers`, and warnings of all libraries, for the rest of the process.

    In debugging mode it does nothing.
    """
    if debugging():
        return
    from transformers.utils import logging

    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    # If torchao is installed, torch logs a warning for each class that it registers.
    getLogger("torch.utils._pytree").setLevel(ERROR)


# bitsandbytes logs missing kernels, accelerate the placement of a model.
_OTHERS = [getLogger(name) for name in ("accelerate", "bitsandbytes")]


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence `transformers` and the loaders of weights within the block."""
    from transformers.utils import logging

    levels = [logger.level for logger in _OTHERS]
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for logger in _OTHERS:
        logger.setLevel(ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        for logger, level in zip(_OTHERS, levels, strict=True):
            logger.setLevel(level)
        if bars:
            logging.enable_progress_bar()


# Some libraries check at exit for leaked objects, and report those that stay frozen on stderr.
atexit.register(gc.unfreeze)


@contextmanager
def faster_imports() -> Iterator[None]:
    """Import torch and transformers, over 3,000 modules, within the block in a third less time.

    Garbage collection is disabled: imported modules aren't garbage, but each collection traverses
    all objects created so far. At the end all objects are frozen: later collections skip them, so
    their memory pages aren't written to and forked processes keep sharing them.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
