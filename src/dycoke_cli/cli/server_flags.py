"""The flags that have questions answered by a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dycoke_cli.compression.base import Method
from dycoke_cli.errors import UsageError
from dycoke_cli.param import parameters_of

if TYPE_CHECKING:
    from dycoke_cli.request import Request
    from dycoke_cli.runs.plan import Plan
    from dycoke_cli.runs.remote import Server

_PANEL = "Server (--server)"

Url = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Have an OpenAI-compatible server answer, such as http://localhost:8000/v1 (vLLM, "
        "dycoke serve); frames are read here. --model is its name there; a --method is sent along.",
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
Requests = Annotated[
    int, typer.Option("--requests", metavar="N", help="In flight.", rich_help_panel=_PANEL)
]

# Of flags that are for a model in this process: their parameters.
_LOCAL = (
    "device", "dtype", "revision", "random_weights", "device_map", "quantize", "kernels", "cache",
    "subtitles", "estimate", "memory", "workers", "engine", "address", "batch_size", "ship",
    "num_gpus_per_worker", "num_cpus_per_worker", "guard", "guard_mean",
)  # fmt: skip


@dataclass(frozen=True)
class ServerFlags:
    """Which server answers, if any."""

    server: Url = None
    api_key_env: KeyVariable = "OPENAI_API_KEY"
    requests: Requests = 8

    def chosen(self, method: Method, given: set[str]) -> Server | None:
        """The server that they choose; None is none.

        Args:
            method: of the request.
            given: the names of the parameters that were given on the command line.

        Raises:
            UsageError: a value that can't be, or flags that don't go together.
        """
        if self.server is None:
            if alone := given & {"api_key_env", "requests"}:
                raise UsageError(f"{_flag(min(alone))} is for a server: add --server URL")
            return None
        if local := [name for name in _LOCAL if name in given]:
            raise UsageError(
                f"{_flag(local[0])} is for a model on this machine: leave it out, or --server"
            )
        from dycoke_cli.runs.remote import Server

        named = given & {"method", *parameters_of(type(method))}
        return Server(
            self.server, self.api_key_env, self.requests, spec_of(method) if named else None
        )


def plan_on(server: Server, request: Request, named: str | None) -> Plan:
    """The plan of a request that a server answers; its address isn't part of what tells answers
    apart, so that a run resumes on another one.

    Args:
        server: that answers.
        request: how.
        named: the model, if any was named.

    Raises:
        ModelError: the server can't be reached, or has several models.
    """
    from dycoke_cli.runs.plan import Plan

    model = server.served_model(named)
    identity: Mapping[str, Any] = {"name": model, "served": True, "method": server.method}
    # What was tuned here for another model says nothing of the server's.
    options = {**vars(request), "model": model, "tuned": None, "cautions": ()}
    return Plan(**options, identity=dict(identity))


def spec_of(method: Method) -> str:
    """A method as `--method` takes it, with the parameters that aren't at their default."""
    usual = type(method)().parameters()
    changed = {k: v for k, v in method.parameters().items() if v is not None and v != usual[k]}
    pairs = (f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in changed.items())
    return ":".join(filter(None, [method.name, ",".join(pairs)]))


def _flag(parameter: str) -> str:
    return f"--{parameter.replace('_', '-')}"
