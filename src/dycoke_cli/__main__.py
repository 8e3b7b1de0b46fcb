"""`python -m dycoke_cli` is the `dycoke` command."""

from __future__ import annotations

import sys

from dycoke_cli.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
