"""Trial of an untrusted tokenizer in a separate process, before it is loaded.

Its regular expressions and replacements run in a Rust library. Python can't interrupt it, and it
aborts the process if memory runs out. Tokenizers that passed are cached by their hash, so the trial
costs a second once.
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
from dycoke_cli.storage.cache_folder import kept, make_folder
from dycoke_cli.storage.private_file import open_own, read_own

# A tokenizer of 33 MB, one of the largest published, takes 2 s and 400 MB.
_CPU_S = 8
_DEADLINE_S = 120
_BYTES, _BYTES_PER_BYTE = 512 << 20, 32
# Lists and objects in tokenizer.json. A vocabulary of 262,144 tokens has half a million, most of
# them merge pairs.
_MAX_PARTS = 4_000_000
# Prefixes of the environment variables that an interpreter needs to start. Secrets such as HF_TOKEN
# aren't passed on.
_ENVIRONMENT = ("DYLD_", "LD_", "PYTHON", "SYSTEMROOT")
_START = "from dycoke_cli.models.files.tokenizer_trial import try_tokenizer; try_tokenizer()"


def check_tokenizer(name: str, file: Path) -> None:
    """Check that a tokenizer neither crashes nor exceeds the limits of time and memory."""
    if not file.is_file():
        return
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    # By release as well: a tokenizer that one release reads may crash another.
    version = importlib.metadata.version("tokenizers")
    passed = kept("tokenizers") / f"{digest}-{version}"
    if _is_ours(passed):
        return
    # transformers parses the file in this process, where a list or object takes at least 20 times
    # its bytes.
    if content.count(b"[") + content.count(b"{") > _MAX_PARTS:
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
        make_folder(passed.parent)
        os.close(open_own(passed))


def try_tokenizer() -> None:
    """Entry point of the trial process: encode the hardest texts under limits."""
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
        return  # an exception is harmless, and loading the tokenizer reports it


def _texts() -> list[str]:
    """Long runs, which make a regular expression backtrack, and every character of the BMP."""
    runs = ["a", "Z", "7", " ", "\n", ".", "é", "語", "ab ", "What is it? ", "a1", "'s", "3.14 "]
    letters = "".join(map(chr, [*range(32, 0xD800), *range(0xE000, 0x10000)]))
    return [*(run * 200 + end for run in runs for end in ("", "!", "0")), letters]


def _is_ours(file: Path) -> bool:
    """Whether a file exists and is of this user; others must not mark a tokenizer as passed."""
    try:
        read_own(file)
    except (OSError, ValueError):
        return False
    return True
