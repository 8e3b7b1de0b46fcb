"""A tokenizer is tried in a process of its own before it is loaded: it is data of strangers.

Its expressions and replacements run in a library in Rust, which nothing in the same process can
interrupt, and which ends the process where memory runs out. What was tried is remembered by its
content, so that it costs a second once.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from dycoke_cli.errors import ModelError
from dycoke_cli.processes.pipe_worker import import_path
from dycoke_cli.processes.process_limits import (
    end_with,
    give_up_privileges,
    limit_cpu,
    limit_memory,
)
from dycoke_cli.storage.cache_folder import cache_folder, is_of_another_user, make_folder

# A tokenizer of 33 MB, of the largest there are, takes two seconds and 400 MB.
_CPU_S = 8
_DEADLINE_S = 120
_BYTES, _BYTES_PER_BYTE = 512 << 20, 32
# A vocabulary of 262,144 tokens has half a million, most of them pairs that are merged.
_MOST_PARTS = 4_000_000
# What an interpreter needs to begin; tokens and keys aren't among it.
_ENVIRONMENT = ("DYLD_", "LD_", "PYTHON", "SYSTEMROOT")
_START = "from dycoke_cli.models.files.tokenizer_trial import try_tokenizer; try_tokenizer()"


def check_tokenizer(name: str, file: Path) -> None:
    """Check that a tokenizer neither crashes nor takes more than any real one.

    Args:
        name: of the model.
        file: its tokenizer.json, where there is one.

    Raises:
        ModelError: it does.
    """
    if not file.is_file():
        return
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    tried = cache_folder() / "tokenizers" / f"{digest}-{importlib.metadata.version('tokenizers')}"
    if _is_ours(tried):
        return
    # transformers reads it, too, where each list and object takes 20 times its bytes and more.
    if content.count(b"[") + content.count(b"{") > _MOST_PARTS:
        raise ModelError(
            f"{name} can't be loaded: its {file.name} has more parts than any real one"
        )
    inherited = {key: value for key, value in os.environ.items() if key.startswith(_ENVIRONMENT)}
    command = [sys.executable, "-c", _START, str(file.absolute()), str(os.getpid()), str(_CPU_S)]
    try:
        code = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**inherited, **import_path()},
            timeout=_DEADLINE_S,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        code = 1
    if code:
        raise ModelError(
            f"{name} can't be loaded: its {file.name} crashes the library that reads it, or takes "
            "more time or memory than any real one; download it again"
        )
    with suppress(OSError):
        make_folder(tried.parent)
        tried.touch()


def try_tokenizer() -> None:
    """In the process: encode what is hardest for a tokenizer."""
    file, parent, cpu_s = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    end_with(parent)
    give_up_privileges()
    from tokenizers import Tokenizer

    limit_memory(0, _BYTES + _BYTES_PER_BYTE * file.stat().st_size)
    limit_cpu(0, cpu_s)
    try:
        tokenizer = Tokenizer.from_file(str(file))
        for text in _texts():
            tokenizer.encode(text)
    except Exception:
        return  # whoever loads it says what is wrong


def _texts() -> list[str]:
    """Long runs, which an expression may split in very many ways, and each letter there is."""
    runs = ["a", "Z", "7", " ", "\n", ".", "é", "語", "ab ", "What is it? ", "a1", "'s", "3.14 "]
    letters = "".join(map(chr, [*range(32, 0xD800), *range(0xE000, 0x10000)]))
    return [*(run * 200 + end for run in runs for end in ("", "!", "0")), letters]


def _is_ours(file: Path) -> bool:
    try:
        return not is_of_another_user(file.stat())
    except OSError:
        return False
