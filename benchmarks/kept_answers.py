"""Command line of measurements whose answers are kept in docs/data, with a table per kept file."""

from __future__ import annotations

import argparse
import hashlib
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.kept_tables import DATA, keep

_SUFFIX = ".jsonl.xz"


def run(
    parser: argparse.ArgumentParser,
    kind: str,
    table: Callable[[bytes], str],
    ask: Callable[[argparse.Namespace], bytes],
    given: Sequence[str] | None,
) -> None:
    """Ask a model, or make the tables of the kept answers, as the flags say.

    Args:
        given: the arguments; None for those of the process.
    """
    parser.add_argument("--keep", metavar="NAME", help="keep the answers in docs/data as NAME")
    parser.add_argument("--report", action="store_true", help="make the tables of docs/data")
    parser.add_argument("--write", action="store_true", help="with --report: into docs/data/tables")
    arguments = parser.parse_args(given)
    if arguments.report:
        for file in sorted(DATA.glob(f"{kind}-*{_SUFFIX}")):
            text = table(lzma.decompress(file.read_bytes()))
            print(text)
            if arguments.write:
                keep(text, file.name.removesuffix(_SUFFIX))
        return
    if arguments.model is None:
        parser.error("--model PATH is the model; or --report")
    answers = ask(arguments)
    if arguments.keep:
        (DATA / f"{arguments.keep}{_SUFFIX}").write_bytes(lzma.compress(answers, preset=9))
    print(table(answers))


def digest(path: Path) -> str:
    """SHA-256 of a GGUF file, or of a folder's weights, one after the other."""
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    found = hashlib.sha256()
    for file in files:
        found.update(file.read_bytes())
    return found.hexdigest()
