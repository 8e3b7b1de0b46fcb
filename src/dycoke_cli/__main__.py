"""The `dycoke` program, which is `python -m dycoke_cli`, too."""

from __future__ import annotations


def run() -> None:
    """Run the command and end the process."""
    # Only here: each process that decodes videos imports the script that called this once more.
    from dycoke_cli.cli.main import run as run_command

    run_command()


if __name__ == "__main__":
    run()
