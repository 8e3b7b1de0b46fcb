"""Whether the running server can answer a request exactly as the command itself would."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from dycoke_cli.answer.json_reader import from_dict
from dycoke_cli.compression.registry import described, restore
from dycoke_cli.errors import DycokeError
from dycoke_cli.request import Request
from dycoke_cli.runs.conversation import Conversation
from dycoke_cli.server.local.wire import Ask, Setup, code, model_key
from dycoke_cli.server.refused import Refused
from dycoke_cli.storage.cache_folder import cache_folder

T = TypeVar("T")


def matched(kind: type[T], sent: Any, defaults: Request) -> tuple[T, Request]:
    """Parse what a command sent, and check that this server's model can answer it.

    Args:
        kind: a dataclass with a `setup`.
        sent: its JSON object.
        defaults: of the server.

    Returns:
        The parsed object, and the request in it.

    Raises:
        Refused: 409; this model, or this code, can't answer it.
    """
    # Before anything is parsed: another version may have other keys, and the reason is the version.
    sent_setup = sent.get("setup") if isinstance(sent, dict) else None
    if not isinstance(sent_setup, dict) or sent_setup.get("code") != code():
        raise _in_process("it runs another version of dycoke, or other plug-ins")
    try:
        parsed: Any = from_dict(kind, sent)
        setup: Setup = parsed.setup
        method = restore(setup.method)
    except (ValueError, KeyError, DycokeError) as error:
        raise _in_process("it doesn't understand the request") from error
    if setup.model != model_key(defaults.model):
        raise _in_process(f"it has the model {defaults.model}")
    if setup.loading != defaults.loading:
        raise _in_process(f"it has loaded {defaults.model} with other flags")
    # A plug-in file that was edited since has other parameters or defaults in the command.
    if described(method) != setup.method:
        raise _in_process("a plug-in has changed since it began")
    if setup.cache not in (None, str(cache_folder())):
        raise _in_process("it has another cache folder")
    return parsed, Request(
        model=defaults.model,
        loading=setup.loading,
        sampling=setup.sampling,
        method=method,
        generation=setup.generation,
        limits=setup.limits,
    )


def conversation_of(sent: Any, defaults: Request) -> Conversation:
    """The conversation that a command sent.

    Raises:
        Refused: as of `matched`.
    """
    ask, request = matched(Ask, sent, defaults)
    return Conversation(
        ask.videos,
        [*ask.questions],
        replace(request, subtitles=ask.subtitles),
        compare=ask.compare,
        cache=ask.setup.cache is not None,
        follow_up=ask.follow_up,
    )


def _in_process(reason: str) -> Refused:
    """The refusal that makes a command answer in its own process."""
    return Refused(409, reason, "in_process")
