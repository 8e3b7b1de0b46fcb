"""Reads the frames of a video in a thread, while the caller loads the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from dycoke_cli.video import Reader

T = TypeVar("T")


@contextmanager
def beside(read: Callable[[], T], reader: Reader) -> Iterator[Future[T]]:
    """Run `read` in a thread of its own; no thread is left behind the block.

    Where the block fails, the video has the first word, as if it had been read before: what is
    wrong with it is raised in place of the block's own error. An interrupt doesn't wait for that.

    Args:
        read: what is to be run; reads from `reader`.
        reader: is stopped at the block's end, if it still reads.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="video") as pool:
        try:
            future = pool.submit(read)
            try:
                yield future
            except Exception:
                future.result()
                raise
        finally:
            reader.stop()
