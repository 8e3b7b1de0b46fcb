"""`python -m tests.frozen --write`: keep what today's code prints, in place of what was kept."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests import surroundings
from tests.frozen.kept import FILES
from tests.frozen.place import place

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.frozen")
    parser.add_argument("--write", action="store_true", required=True, help="write the kept files")
    parser.parse_args()
    surroundings.reset()
    for file in FILES:
        with tempfile.TemporaryDirectory() as folder, place(Path(folder)):
            file.write()
