"""Flags of a remote server that answers the questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from dycoke_cli.cli.flags import options
from dycoke_cli.cli.flags.flag_table import flag_table
from dycoke_cli.errors import UsageError
from dycoke_cli.param import parameters_of

if TYPE_CHECKING:
    from dycoke_cli.compression.method import Method
    from dycoke_cli.compression.pool import TokenBudget
    from dycoke_cli.runs.remote.served_model import Server


_FLAGS = flag_table("""
    [Server (--server)]
    --server URL: Have an OpenAI-compatible server answer, such as http://localhost:8000/v1 (vLLM,
        dycoke serve); frames are read here. --model is its name there; a method that is named is
        sent along.
    --api-key-env NAME: Environment variable with the server's key.
    --as-images: Send frames as pictures, to a server that takes no videos.
    --requests N: Requests in flight.
    [Model]
    --no-server: Load the model here, even if a server of yours (`dycoke serve`) has it in memory.
""")
Requests = Annotated[int, _FLAGS["--requests"]]
REQUESTS = 8

NoServer = Annotated[bool, _FLAGS["--no-server"]]

# Parameters that need the model in this process; they exclude --server.
_LOCAL = (
    "device", "dtype", "revision", "random_weights", "device_map", "quantize", "kernels", "cache",
    "estimate", "memory", "workers", "engine", "address", "batch_size", "ship",
    "num_gpus_per_worker", "num_cpus_per_worker", "no_server", "by",
)  # fmt: skip


@dataclass(frozen=True)
class ServerFlags:
    """Flags of a remote server."""

    server: Annotated[str | None, _FLAGS["--server"]] = None
    api_key_env: Annotated[str, _FLAGS["--api-key-env"]] = "OPENAI_API_KEY"
    as_images: Annotated[bool, _FLAGS["--as-images"]] = False

    def check(self, context: typer.Context) -> None:
        """Check that no flag contradicts --server, or needs it."""
        given = options.given(context)
        if self.server is None:
            if alone := given & {"api_key_env", "as_images", "requests"}:
                raise UsageError(f"{_flag(min(alone))} is for a server: add --server URL")
            return
        # Imported late: no help page needs it.

        local = [name for name in _LOCAL if name in given]
        if local:
            raise UsageError(
                f"{_flag(local[0])} is for a model on this machine: leave it out, or --server"
            )

    def chosen(
        self,
        context: typer.Context,
        method: Method | None = None,
        budget: TokenBudget | None = None,
    ) -> Server | None:
        """The chosen server; None without one.

        Args:
            method: sent to the server if a flag sets it or one of its parameters; None if each row
                of a table has its own method.
        """
        if self.server is None:
            return None
        from dycoke_cli.runs.remote.served_model import Server

        # Unless a flag names a method, the server's own default applies, not ours.
        parts = set() if method is None else {"method", *parameters_of(type(method))}
        return Server(
            self.server,
            self.api_key_env,
            context.params.get("requests", 1),
            names_method=method is None or not parts.isdisjoint(options.given(context)),
            as_images=self.as_images,
            max_tokens=None if budget is None else budget.max_tokens,
        )


def _flag(parameter: str) -> str:
    return f"--{parameter.replace('_', '-')}"
