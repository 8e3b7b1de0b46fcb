"""`dycoke mcp`: tools for agents, over the Model Context Protocol on stdin and stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dycoke_cli.cli import output, pages
from dycoke_cli.cli.flags import request_flags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags, spread
from dycoke_cli.cli.flags.shared_flags import flag_table
from dycoke_cli.cli.render.view import View
from dycoke_cli.errors import UsageError, need
from dycoke_cli.storage.input_file import read_text
from dycoke_cli.unicode import display_name


def _print_skill(wanted: bool) -> None:
    if wanted:
        output.write(read_text(Path(__file__).parents[2] / "share" / "SKILL.md"))
        raise typer.Exit


_FLAGS = flag_table(
    """
    DIR…: Folders whose videos agents may name; files elsewhere are refused.
    --frame-limit N: Frames per video, whatever an agent asks for.
    --skill: Print a SKILL.md, from which an agent learns the commands, and exit.
    """,
    {"--frame-limit": {"min": 1}, "--skill": {"is_eager": True, "callback": _print_skill}},
)
BRIEF = """
    --model --frames --fps --device --quantize --method --max-tokens --frame-limit --skill
"""


@spread
def mcp(
    *,
    folders: Annotated[list[Path], _FLAGS["DIR…"]],
    frame_limit: Annotated[int, _FLAGS["--frame-limit"]] = 256,
    skill: Annotated[bool, _FLAGS["--skill"]] = False,
    how: request_flags.Asking,
    method: request_flags.MethodFlags,
    help_all: pages.HelpAll = False,
) -> None:
    """Let agents ask about videos: tools of the Model Context Protocol, on stdin and stdout.

    Examples:
        dycoke mcp ~/Videos
        dycoke mcp /data/videos /data/clips --model qwen2.5-vl-3b --method dycoke

    The tools are ask_video, when, probe_video and frames. The model is loaded at the first
    question. An agent's program starts this command; docs/serve.md has its settings.
    """
    need("mcp", "mcp", "dycoke mcp")
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{display_name(str(folder))} isn't a folder")
    request = how.request(method.chosen())
    with View(quiet=False) as view, speaking_of_flags():
        from dycoke_cli.runs.converse import engine_of
        from dycoke_cli.server.mcp_server import make_mcp_server
        from dycoke_cli.server.video_tools import VideoTools

        named = ", ".join(display_name(str(folder.resolve())) for folder in folders)
        with engine_of(request, view) as engine:
            engine.start()
            tools = VideoTools(folders, request, engine, frame_limit)
            try:
                make_mcp_server(tools, named).run()
            except* BrokenPipeError:
                pass  # the client has gone
