"""The tools of `dycoke mcp` as a server of the Model Context Protocol (official package `mcp`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

import anyio
from anyio import from_thread
from anyio.to_thread import run_sync
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import (
    CallToolResult,
    ContentBlock,
    JSONRPCNotification,
    JSONRPCRequest,
    TextContent,
    ToolAnnotations,
)
from pydantic import Field

from dycoke_cli import Answer, __version__
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.errors import did_you_mean
from dycoke_cli.server.refused import in_keys, refused
from dycoke_cli.server.replies import typed
from dycoke_cli.server.video_tools import MOST_PICTURES, VideoTools
from dycoke_cli.unicode import display_name, to_json

T = TypeVar("T")

STAGES = {
    "load": "Loading the model",
    "vision": "Encoding frames",
    "prefill": "Prefill",
    "decode": "Generating",
}
"""Stages of an answer, in order, of which each counts the same."""
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)

Video = Annotated[str, Field(description="Path of a video file.")]
Start = Annotated[
    float | None, Field(ge=0, description="Start of the part, in seconds; default: the beginning.")
]
End = Annotated[
    float | None, Field(ge=0, description="End of the part, in seconds; default: the end.")
]

Method = Annotated[
    str | None,
    Field(description="Compression, such as none, dycoke or dycoke-plus:retain=0.25."),
]
Frames = Annotated[
    int | None, Field(ge=1, description="Frames that the model reads, evenly spaced.")
]


_ARGUMENTS = {
    "--frames": "frames",
    "--method": "method",
    "--start": "start",
    "start_s": "start",
    "--end": "end",
    "end_s": "end",
}
"""What the tools call flags and options that a sentence may name."""


_ENDLESS, _CANCELLED = "subscriptions/listen", "notifications/cancelled"
"""Methods of the protocol: a request and a notification after which no reply is due."""
_POLL_S = 0.05


class _Server(MCPServer[Any]):
    """A server that refuses arguments which its tools don't have."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        """Call a tool."""
        known = {tool.name: tool.input_schema["properties"] for tool in await self.list_tools()}
        for given in {*arguments} - {*known.get(name, arguments)}:
            advice = did_you_mean(given, known[name], f"it takes {', '.join(known[name])}")
            raise ToolError(f"{name} has no argument {display_name(given)[:100]}; {advice}")
        return await super().call_tool(name, arguments, context)

    async def run_stdio_async(self) -> None:
        """Answer on stdin and stdout, also what has no reply yet at the end of stdin.

        The official package would drop it, so that its stream of requests is ended here.
        """
        requests, received = anyio.create_memory_object_stream[SessionMessage | Exception]()
        replies, given = anyio.create_memory_object_stream[SessionMessage]()
        unanswered: set[str] = set()

        async def read() -> None:
            async with requests:
                async for item in stdin:
                    message = None if isinstance(item, Exception) else item.message
                    if isinstance(message, JSONRPCRequest) and message.method != _ENDLESS:
                        unanswered.add(str(message.id))
                    elif isinstance(message, JSONRPCNotification) and message.method == _CANCELLED:
                        unanswered.discard(str((message.params or {}).get("requestId")))
                    await requests.send(item)
                while unanswered:
                    await anyio.sleep(_POLL_S)

        async def write() -> None:
            async for item in given:
                await stdout.send(item)
                unanswered.discard(str(getattr(item.message, "id", None)))

        server = self._lowlevel_server
        async with stdio_server() as (stdin, stdout), stdout, anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(write)
            await server.run(received, replies, server.create_initialization_options())


def make_mcp_server(tools: VideoTools, folders: str) -> MCPServer[Any]:
    """The server, whose `run` answers on stdin and stdout."""
    server = _Server(
        "dycoke",
        version=__version__,
        instructions=f"Answers questions about the videos below {folders}. ask_video and when cost "
        "a few tokens; frames sends pictures, which cost many.",
        log_level="ERROR",
    )

    @server.tool(annotations=_READS)
    async def ask_video(
        context: Context[Any, Any],
        video: Video,
        question: Annotated[str, Field(description="About the video, in plain words.")],
        start: Start = None,
        end: End = None,
        choices: Annotated[
            list[str] | None,
            Field(description="Options that the answer is one of; their probabilities come back."),
        ] = None,
        schema: Annotated[
            dict[str, Any] | None,
            Field(
                description="JSON Schema, as an object: the answer is JSON of it. Say in the "
                "question what its fields mean."
            ),
        ] = None,
        method: Method = None,
        frames: Frames = None,
    ) -> CallToolResult:
        """Ask a question about a video, or about a part of it. A video model watches it."""
        given: dict[str, Any] = {"schema": schema, "method": method, "frames": frames}
        work = partial(tools.ask, video, question, (start, end), choices=choices or (), **given)
        return await _asked(work, context, _answer)

    @server.tool(annotations=_READS)
    async def when(
        context: Context[Any, Any],
        video: Video,
        question: Annotated[
            str,
            Field(description="One that yes or no answers, or a statement, as in A person enters."),
        ],
        start: Start = None,
        end: End = None,
        every: Annotated[
            float | None,
            Field(gt=0, description="Length of the windows that are searched, in seconds."),
        ] = None,
        method: Method = None,
        frames: Frames = None,
    ) -> CallToolResult:
        """Find the time ranges in which something is the case, by many questions about parts."""
        more: dict[str, Any] = {"every_s": every, "method": method, "frames": frames}
        work = partial(tools.when, video, question, (start, end), **more)
        return await _asked(work, context, _found)

    @server.tool(annotations=_READS)
    async def probe_video(video: Video, start: Start = None, end: End = None) -> CallToolResult:
        """Length, size, codecs and streams of a video; and which frames a question would read."""
        return await _run(
            partial(tools.probe, video, (start, end)),
            lambda found: CallToolResult(content=[_text(to_json(found))], structured_content=found),
        )

    @server.tool(annotations=_READS)
    async def frames(
        video: Video,
        start: Start = None,
        end: End = None,
        count: Annotated[
            int, Field(ge=1, le=MOST_PICTURES, description="How many, evenly spaced.")
        ] = 4,
    ) -> CallToolResult:
        """Look at a few frames of a video: pictures, each behind its time."""
        return await _run(partial(tools.frames, video, (start, end), count), _pictures)

    return server


async def _asked(
    work: Callable[..., T], context: Context[Any, Any], shown: Callable[[T], CallToolResult]
) -> CallToolResult:
    """The result of a question, which ends if the client gives it up."""
    cancelled = threading.Event()
    report = partial(_report, context, cancelled)
    return await _run(partial(work, report=report, cancelled=cancelled), shown, cancelled)


async def _run(
    work: Callable[[], T],
    shown: Callable[[T], CallToolResult],
    cancelled: threading.Event | None = None,
) -> CallToolResult:
    """The result of work in a thread; an error becomes a sentence for the agent."""
    try:
        return shown(await run_sync(work, abandon_on_cancel=cancelled is not None))
    except anyio.get_cancelled_exc_class():
        if cancelled is not None:
            cancelled.set()
        raise
    except Exception as error:
        return CallToolResult(content=[_text(str(refused(error, _ARGUMENTS)))], is_error=True)


def _answer(answer: Answer) -> CallToolResult:
    found = {"answer": answer.answer, "warnings": list(answer.warnings), **typed(answer)}
    found.pop("scoring", None)
    return _found(found if answer.parsed is ABSENT else {**found, "parsed": answer.parsed})


def _found(found: dict[str, Any]) -> CallToolResult:
    found["warnings"] = [in_keys(warning, _ARGUMENTS) for warning in found["warnings"]]
    lines = [found["answer"]]
    if "probabilities" in found:
        lines.append(to_json({"probabilities": found["probabilities"]}))
    if found.get("when"):
        lines.append(to_json({"when": found["when"]}))
    lines += [f"Warning: {warning}" for warning in found["warnings"]]
    return CallToolResult(content=[_text("\n".join(lines))], structured_content=found)


def _pictures(found: list[tuple[float, bytes]]) -> CallToolResult:
    content: list[ContentBlock] = []
    for time_s, jpeg in found:
        content += [_text(f"{time_s:.2f} s"), Image(data=jpeg, format="jpeg").to_image_content()]
    return CallToolResult(content=content)


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _report(
    context: Context[Any, Any], cancelled: threading.Event, stage: str, done: int, total: int
) -> None:
    """Notify the client of a step, from the thread of a question."""
    if not cancelled.is_set():
        share, sentence = progress_of(stage, done, total), STAGES.get(stage, stage)
        from_thread.run(context.report_progress, share, 1.0, sentence)


def progress_of(stage: str, done: int, total: int) -> float:
    """How far an answer is, from 0 to 1, at a step of a stage."""
    number = [*STAGES].index(stage) if stage in STAGES else 0
    return (number + (done / total if total else 0.0)) / len(STAGES)
