"""`python -m dycoke_cli` is the `dycoke` command."""

from __future__ import annotations

from dycoke_cli.cli.main import run

if __name__ == "__main__":
    run()
