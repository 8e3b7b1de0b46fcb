"""`python spent.py FILE COMMAND…`: runs a command, and writes what it took into the file as JSON.

A small process between: Linux counts the memory of whoever starts a command as the command's own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main(file: str, *command: str) -> int:
    """Seconds, processor seconds, and the peak memory of its largest process in GB.

    Returns:
        The exit code, as a shell has it: 128 and the signal's number for one that was killed.
    """
    started = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    seconds = time.monotonic() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = {
        "seconds": round(seconds, 1),
        "cpu": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gb": round(usage.ru_maxrss * 1024 / 1e9, 2),
    }
    Path(file).write_text(json.dumps(spent))
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
