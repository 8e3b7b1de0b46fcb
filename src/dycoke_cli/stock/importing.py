"""Faster imports of torch, transformers and their dependencies: over 3,000 modules."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Some libraries check at exit for leaked objects, and report those that stay frozen on stderr.
atexit.register(gc.unfreeze)

_PREFIX = "models."


@contextmanager
def faster_imports() -> Iterator[None]:
    """Import torch and transformers within the block in a third less time.

    Garbage collection is disabled: imported modules aren't garbage, but each collection traverses
    all objects created so far. At the end all objects are frozen: later collections skip them, so
    their memory pages aren't written to and forked processes keep sharing them.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        _list_models_once()
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()


def _list_models_once() -> None:
    """Import `transformers.models` with the list of its files that `import transformers` has made.

    Making the list reads 2,700 files, which takes a quarter of a second. transformers makes it
    twice: its cache has room for 128 of the 500 folders.
    """
    import transformers
    from transformers.utils import import_utils

    define: Any = getattr(import_utils, "define_import_structure", None)
    if define is None:  # of a release that isn't known yet
        return
    models = Path(transformers.__file__).parent / "models"
    listed = define(models, prefix="models")

    def without_prefix(path: str, *prefix: str) -> dict[frozenset[str], dict[str, set[str]]]:
        if Path(path).parent != models:  # another thread imports something else
            return define(path, *prefix)
        return {
            backends: {
                name.removeprefix(_PREFIX): objects
                for name, objects in modules.items()
                if name.startswith(_PREFIX)
            }
            for backends, modules in listed.items()
        }

    import_utils.define_import_structure = without_prefix
    try:
        import transformers.models
    finally:
        import_utils.define_import_structure = define
