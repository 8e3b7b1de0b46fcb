"""`dycoke serve`: an OpenAI-compatible server on this machine."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.cli import output, pages
from dycoke_cli.cli.commands.ask import BUNDLED_NOTE
from dycoke_cli.cli.flags import request_flags, shared_flags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags, spread
from dycoke_cli.cli.render import units
from dycoke_cli.cli.render.view import View
from dycoke_cli.errors import UsageError, need
from dycoke_cli.models.load_options import SPEECH_MODEL

_MIB = 1024**2
_CONNECTIONS = 4  # open connections per admitted request; idle ones cost little
_LEAST_CONNECTIONS = 64

_FLAGS = shared_flags.flag_table(
    """
    [Server]
    --host HOST: Address to listen on. 0.0.0.0 also accepts other machines, and needs an API key in
        the environment variable DYCOKE_API_KEY (or several, one per line).
    --port N: 0: any that is free.
    --media-root DIR: Requests may name files below this folder (file:///…). Default: none.
    --cors ORIGIN: Web pages of this origin (https://chat.example) may send requests, beside those
        of this machine; repeatable.
    --idle SECONDS: Unload the model after so long without a request; the next one loads it again.
        Default: never.
    [Limits]
    --hold N: Encoded videos kept in memory, with what was prefilled of them.
    --queue N: Requests that may wait or be answered at once; others get status 429.
    --frame-limit N: Frames per video, whatever a request says.
    --body-limit MIB: Size of a request, in MiB.
    """,
    {
        "--port": {"min": 0, "max": 65535},
        "--idle": {"min": 1},
        "--hold": {"min": 1},
        "--queue": {"min": 1},
        "--frame-limit": {"min": 1},
        "--body-limit": {"min": 1},
    },
)
BRIEF = """
    --host --port --media-root --idle --model --frames --fps --device
    --quantize --method --max-tokens --frame-limit --queue --quiet
"""


@spread
def serve(
    *,
    host: Annotated[str, _FLAGS["--host"]] = "127.0.0.1",
    port: Annotated[int, _FLAGS["--port"]] = 8000,
    media_root: Annotated[Path | None, _FLAGS["--media-root"]] = None,
    cors: Annotated[list[str] | None, _FLAGS["--cors"]] = None,
    idle: Annotated[float | None, _FLAGS["--idle"]] = None,
    queue: Annotated[int, _FLAGS["--queue"]] = 64,
    frame_limit: Annotated[int, _FLAGS["--frame-limit"]] = 256,
    body_limit: Annotated[int, _FLAGS["--body-limit"]] = 256,
    hold: Annotated[int, _FLAGS["--hold"]] = 8,
    how: request_flags.CappedAsking,
    method: request_flags.MethodFlags,
    speech_model: shared_flags.SpeechModel = SPEECH_MODEL,
    cache: shared_flags.Cache = False,
    quiet: shared_flags.Quiet = False,
    help_all: pages.HelpAll = False,
) -> None:
    """Answer OpenAI-compatible requests about videos, with compression chosen per request.

    Examples:
        dycoke serve
        dycoke serve --model qwen2.5-vl-3b --port 9000 --media-root /data/videos
        dycoke serve --idle 600

    The flags of model, frames, method and generation are the defaults of a request. docs/serve.md
    has the requests. Ctrl-C ends the server.
    """
    # A library of torch ends the process without one.
    os.getcwd()
    need("starlette", "serve", "dycoke serve")
    need("uvicorn", "serve", "dycoke serve")
    from dycoke_cli.loop.in_windows import check_windows
    from dycoke_cli.server.access import KEY, read_keys, read_origins
    from dycoke_cli.server.media import Media

    if media_root is not None and not media_root.is_dir():
        raise UsageError(f"--media-root {media_root} isn't a folder")
    request = how.request(method.chosen(), speech_model=speech_model)
    with speaking_of_flags():
        check_windows(request)
    note = BUNDLED_NOTE if how.named is None else None
    # From the environment only: a flag would be visible in the list of processes.
    keys = read_keys(os.environ.get(KEY, ""))
    origins = read_origins(cors or ())
    media = Media(() if media_root is None else (media_root,))

    with View(quiet, note) as view, speaking_of_flags():
        view.stage("start")
        from dycoke_cli.cli.commands.demo import CLIP, QUESTIONS
        from dycoke_cli.runs.converse import engine_of
        from dycoke_cli.server.lifetime import Address, ConnectionLimits, make_server, run
        from dycoke_cli.server.local.unix_socket import LocalListener
        from dycoke_cli.server.service import start_service
        from dycoke_cli.storage.output_file import remove_left

        remove_left(Path(tempfile.gettempdir()))  # videos of requests to a server that was killed
        address = Address(host, port, keys, origins)
        # Bound before the model is loaded: a port in use is an error at once, not after minutes.
        with address.bind() as listening, suppress(KeyboardInterrupt):
            engine = engine_of(request, view, keep=hold, cache=cache)
            url_host = f"[{host}]" if ":" in host else host
            url = f"http://{url_host}:{listening.getsockname()[1]}/v1"
            service = start_service(
                engine,
                request,
                media,
                url=url,
                queue=queue,
                frames=frame_limit,
                body_mib=body_limit,
            )
            with closing(LocalListener(view.warning)) as local:
                most = max(_LEAST_CONNECTIONS, queue * _CONNECTIONS)
                connections = ConnectionLimits(most, most // 2)
                server = make_server(service, address, connections)
                view.announce()
                view.note(f"Serving {request.model} at {url}")
                view.note(_isolation())
                if local.listening is not None:
                    view.note(f'Try it in another terminal: dycoke ask {CLIP} "{QUESTIONS[0]}"')
                run(server, service, listening, local, idle)


def status(as_json: shared_flags.Json = False) -> None:
    """Show where your server runs, and whether its model is in memory.

    Examples:
        dycoke serve status

    Exit code 1: none runs.
    """
    from dycoke_cli.server.local.server_asker import server_status

    found = server_status()
    if as_json:
        output.write_json(to_dict(found))
        return
    model = "in memory" if found.loaded else "unloaded until the next request"
    busy = "answering" if not found.idle_s else f"idle for {units.seconds(found.idle_s)}"
    output.line(f"{found.model} at {found.url}, since {found.started}, process {found.process}")
    output.line(f"The model is {model}; {busy}")


def _isolation() -> str:
    """Sentence about what isolates the process that reads the videos of clients."""
    from dycoke_cli.processes.sandbox import REFUSES_ALL, described
    from dycoke_cli.video.decoder import sandbox

    means = sandbox()
    if REFUSES_ALL in means:
        return f"Videos are decoded in a sandbox: {described(means)}"
    return (
        f"Warning: videos are decoded without seccomp, which this system lacks ({described(means)} "
        "holds): --require-sandbox refuses that"
    )
