"""`python -m tests.cli.several '[["models", "pull", "me/mine"], …]'`: commands in one process.

For what is read when a library is imported, such as where the model hub is: a process of its own,
but one for a test. Writes one JSON object a command.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from tests.cli.harness import run_here

if __name__ == "__main__":
    for arguments in json.loads(sys.argv[1]):
        print(json.dumps(dataclasses.asdict(run_here(*arguments))))
