"""What fails because of a model's files, long after they were read, is the model's fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dycoke_cli.errors import DEBUG, DycokeError, ModelError
from dycoke_cli.models.devices import is_out_of_memory
from dycoke_cli.models.load import LoadedModel

_NOT_THEIRS = (DycokeError, OSError, KeyboardInterrupt, SystemExit, GeneratorExit)


@contextmanager
def faults_of(loaded: LoadedModel) -> Iterator[None]:
    """Turn what libraries raise about a model's configuration or weights into one sentence.

    Not of the bundled model, whose files are ours.

    Args:
        loaded: the model.

    Raises:
        ModelError: in place of any error that isn't about memory or files.
    """
    try:
        yield
    except _NOT_THEIRS:
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception
        bundled = loaded.entry is not None and loaded.entry.repo is None
        if bundled or is_out_of_memory(error):
            raise
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise ModelError(
            f"{loaded.name} can't be used, for its files don't fit each other ({said}); download "
            f"it again, or run it with {DEBUG}=1 in the environment to see where"
        ) from error
