"""The flags that have questions answered by a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from dycoke_cli.errors import UsageError
from dycoke_cli.param import parameters_of

if TYPE_CHECKING:
    from dycoke_cli.request import Request
    from dycoke_cli.runs.remote import Server

_PANEL = "Server (--server)"

Url = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Have an OpenAI-compatible server answer, such as http://localhost:8000/v1 (vLLM, "
        "dycoke serve); frames are read here. --model is its name there; a method that is named "
        "is sent along.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
KeyVariable = Annotated[
    str,
    typer.Option(
        "--api-key-env",
        metavar="NAME",
        help="Environment variable with the server's key.",
        rich_help_panel=_PANEL,
    ),
]
AsImages = Annotated[
    bool,
    typer.Option(
        "--as-images",
        help="Send frames as pictures, to a server that takes no videos.",
        rich_help_panel=_PANEL,
    ),
]
Requests = Annotated[
    int, typer.Option("--requests", metavar="N", help="In flight.", rich_help_panel=_PANEL)
]
REQUESTS = 8

# Of flags that are for a model in this process: their parameters.
_LOCAL = (
    "device", "dtype", "revision", "random_weights", "device_map", "quantize", "kernels", "cache",
    "subtitles", "estimate", "memory", "workers", "engine", "address", "batch_size", "ship",
    "num_gpus_per_worker", "num_cpus_per_worker", "guard", "guard_mean", "no_server", "plot",
)  # fmt: skip


@dataclass(frozen=True)
class ServerFlags:
    """Which server answers, if any."""

    server: Url = None
    api_key_env: KeyVariable = "OPENAI_API_KEY"
    as_images: AsImages = False

    def chosen(
        self, request: Request, given: set[str], requests: int = 1, *, rows: bool = False
    ) -> Server | None:
        """The server that they choose; None is none.

        Args:
            request: of the command.
            given: the names of the parameters that were given on the command line.
            requests: in flight.
            rows: whether each row of a table names its method; else a method is named where a flag
                does so.

        Raises:
            UsageError: a value that can't be, or flags that don't go together.
        """
        if self.server is None:
            if alone := given & {"api_key_env", "as_images", "requests"}:
                raise UsageError(f"{_flag(min(alone))} is for a server: add --server URL")
            return None
        if local := [name for name in _LOCAL if name in given]:
            raise UsageError(
                f"{_flag(local[0])} is for a model on this machine: leave it out, or --server"
            )
        named = given & {"method", *parameters_of(type(request.method))}
        if named and request.tuned is not None:
            raise UsageError(
                "--method auto is for a model on this machine: name a method, or leave --server out"
            )
        from dycoke_cli.runs.remote import Server

        return Server(self.server, self.api_key_env, requests, rows or bool(named), self.as_images)


def _flag(parameter: str) -> str:
    return f"--{parameter.replace('_', '-')}"
