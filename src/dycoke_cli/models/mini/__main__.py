"""`python -m dycoke_cli.models.mini`: train, export, curves, samples."""

from __future__ import annotations

from dycoke_cli.models.mini.command import app

if __name__ == "__main__":
    app()
