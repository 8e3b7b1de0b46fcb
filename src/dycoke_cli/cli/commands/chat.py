"""`dycoke chat`: interactive conversation about a video, with slash commands."""

from __future__ import annotations

import inspect
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dycoke_cli.cli import output, pages, render
from dycoke_cli.cli.commands.ask import BUNDLED_NOTE
from dycoke_cli.cli.commands.presenter import AsText
from dycoke_cli.cli.flags import question_flags, request_flags, shared_flags
from dycoke_cli.cli.flags.arguments import has_suffix, quoted
from dycoke_cli.cli.flags.param_flags import speaking_of_flags, spread
from dycoke_cli.errors import DycokeError, OutputError, UsageError
from dycoke_cli.unicode import is_valid, to_json
from dycoke_cli.video.files import STDIN, open_stdin
from dycoke_cli.video.pictures import as_named, sources

if TYPE_CHECKING:
    from dycoke_cli.answer.answer import Answer
    from dycoke_cli.loop.local_engine import Engine
    from dycoke_cli.request import Request

_FLAGS = shared_flags.flag_table("""
    VIDEO…: A video file, or a folder of pictures, which are its frames. Several are shown together,
        where the model allows it.
""")
BRIEF = f"{request_flags.BRIEF} --start --end --subtitles --device --temperature --seed --cache"


@spread
def chat(
    *,
    videos: Annotated[list[str], _FLAGS["VIDEO…"]],
    how: request_flags.Questioning,
    typed: question_flags.TypedFlags,
    cache: shared_flags.Cache = False,
    quiet: shared_flags.Quiet = False,
    help_all: pages.HelpAll = False,
) -> None:
    """Talk about a video: the model stays loaded, and each question sees the earlier ones.

    Examples:
        dycoke chat holiday.mp4
        dycoke chat talk.mkv --model qwen2.5-vl-3b --end 5:00
        dycoke chat clip.mp4 < questions.txt

    One question per line; `/help` lists the commands. Ctrl-C stops an answer, Ctrl-D ends the chat.
    In a pipe each answer is a line on stdout; exit code 1: some lines failed.
    """
    if STDIN in videos:
        raise UsageError("chat reads questions from stdin; save the video to a file, and name that")
    request = typed.applied(how.whole_request())
    note = BUNDLED_NOTE if how.named is None and not quiet else None
    interactive = sys.stdin is not None and sys.stdin.isatty()
    with ExitStack() as stack:
        view = stack.enter_context(_ChatView(quiet, note, several=not interactive))
        view.stage("start")
        from dycoke_cli.runs.converse import engine_of

        with speaking_of_flags():
            names = as_named(videos)
            for word in names[1:]:
                if " " in word and not has_suffix(word) and not os.path.lexists(word):
                    ask = f"`dycoke ask {quoted(names[0])} {quoted(word)}`"
                    raise UsageError(f"a chat asks for questions once it runs: {ask} asks one")
            count = len(sources(names))
            engine = engine_of(request, view, videos=count, keep=1, cache=cache)
            chat = _Chat(stack.enter_context(engine), request, view)
            chat.show(names)
        view.announce()
        view.stop()
        if interactive and not quiet:
            render.note("/help lists the commands")
        # In a pipe, exit code 1 tells that lines failed; at a terminal the user has seen it.
        failed = 0
        for line in _read_terminal() if interactive else _read_pipe():
            if line in ("/quit", "/exit"):
                break
            failed += not _run_line(chat, line, interactive)
    if failed and not interactive:
        raise typer.Exit(1)


class _ChatView(AsText):
    """Text view of a chat: an answer can be interrupted, and each has its own waiting time."""

    more = "/stats"

    def __init__(self, quiet: bool, note: str | None, several: bool) -> None:
        super().__init__(2 if several else 1, quiet, note)

    def begin(self, question: str) -> None:
        """Also restart the clock: the time for typing the question isn't waiting time."""
        self._waiting_since = time.monotonic()
        super().begin(question)

    def interrupted(self) -> None:
        """End the line of an interrupted answer."""
        self.stop()
        self._answer.abandon()


def _run_line(chat: _Chat, line: str, interactive: bool) -> bool:
    """Run a line; errors are printed. Returns whether it succeeded."""
    try:
        with speaking_of_flags():
            chat.run(line)
    except KeyboardInterrupt:
        chat.view.interrupted()
        if not interactive:
            raise
        render.note("stopped")
    except (BrokenPipeError, OutputError):
        # Nobody reads the answers, or they can't be written: this ends the chat.
        raise
    except Exception as error:
        chat.view.interrupted()
        output.show_traceback()
        output.say(output.explain(error))
        return False
    return True


def _read_pipe() -> Iterator[str]:
    """Non-empty lines of stdin, as they arrive."""
    lines = open_stdin("chat reads a question per line from it")
    for number, line in enumerate(lines):
        try:
            # Windows editors begin a file with a byte order mark.
            text = line.decode("utf-8-sig" if number == 0 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise UsageError("the questions on stdin aren't UTF-8 text") from error
        if text:
            yield text


def _read_terminal() -> Iterator[str]:
    """Lines typed at a prompt with editing, completion and a history across chats."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.output import create_output

    from dycoke_cli.storage.cache_folder import kept, make_folder
    from dycoke_cli.storage.output_file import open_own

    history: History = InMemoryHistory()
    with suppress(OSError):
        path = kept("chat_history")
        make_folder(path.parent)
        # Created here, because the library would make it readable for other users.
        os.close(open_own(path))
        history = FileHistory(path)
    prompt: PromptSession[str] = PromptSession(
        history=history,
        completer=WordCompleter([*(f"/{name}" for name in COMMANDS), "/quit"], sentence=True),
        output=create_output(sys.stderr),  # stdout is for answers alone
    )
    while True:
        try:
            text = prompt.prompt("> ").strip()
        except KeyboardInterrupt:  # discards the line, as in a shell
            continue
        except EOFError:
            return
        if text:
            yield text


class _Chat:
    """A conversation: questions, which see the earlier ones and their answers, and slash commands.

    Attributes:
        answers: of the questions, in order; questions whose answer was stopped have none.
    """

    def __init__(self, engine: Engine, request: Request, view: _ChatView) -> None:
        self.view = view
        self._engine, self._request = engine, request

    def show(self, videos: Sequence[str]) -> None:
        """Begin a new conversation about other videos; the old one stays if they can't be read."""
        from dycoke_cli.runs.converse import asks_of, work_on

        [ask] = asks_of(videos, [""], self._request)
        work_on(self._engine, ask, lambda session, send: None, self.view)
        self._videos = videos
        self.answers: list[Answer] = []

    def run(self, line: str) -> None:
        """Ask a question, or run a command."""
        if not is_valid(line):
            raise UsageError("the question isn't UTF-8 text; convert it to UTF-8")
        if not line.startswith("/"):
            history = [(answer.question, answer.answer) for answer in self.answers]
            self.answers += self._asked(line, history=tuple(history))
            return
        name, _, argument = line[1:].partition(" ")
        if name not in COMMANDS:
            raise UsageError(f"there is no command /{name}: /help lists them")
        COMMANDS[name](self, argument.strip())

    def _asked(self, question: str, **how: Any) -> list[Answer]:
        from dycoke_cli.runs.converse import asks_of, converse

        asks = asks_of(self._videos, [question], self._request)
        return converse(self._engine, [replace(ask, **how) for ask in asks], self.view)

    def method(self, text: str) -> None:
        """Choose a method, as in dycoke-plus:retain=0.25; alone: print the method."""
        if text:
            from dycoke_cli.compression.registry import parse_spec

            method = parse_spec(text).create()
            self._engine.settled(method)  # raises if the model doesn't support it
            self._request = self._request.with_method(method)
        method = self._request.method
        values = {name: value for name, value in method.parameters().items() if value is not None}
        parameters = ", ".join(f"{name}={value}" for name, value in values.items())
        render.note(f"Method: {method.name} ({parameters})" if values else f"Method: {method.name}")

    def compare(self, text: str) -> None:
        """Ask with and without compression; alone: the last question again."""
        question = text or self._last().question
        if self._request.method.name == "none":
            raise UsageError("the baseline is what others are compared with: choose a /method")
        self._asked(question, compare=True)  # by itself: it isn't part of the conversation

    def stats(self, _: str) -> None:
        """Print all figures of the last answer."""
        answer = self._last()
        render.statistics(answer, answer.seconds.total, 0.0, whole=True)

    def video(self, text: str) -> None:
        """Go on with another video."""
        try:
            # A path with spaces needs no quotes if it exists as typed.
            videos = tuple(shlex.split(text)) if text and not os.path.exists(text) else (text,)
        except ValueError as error:
            raise UsageError(f"/video: {error} in {text}") from error
        if not text or STDIN in videos:
            raise UsageError("/video needs a file, as in `/video clip.mp4`")
        self.show(as_named(videos))
        self.view.stop()
        render.note(f"Now about {' and '.join(map(quoted, videos))}; a new conversation")

    def clear(self, _: str) -> None:
        """Begin a new conversation about the same video."""
        self.answers = []
        render.note("A new conversation about the same video")

    def save(self, text: str) -> None:
        """Save the answers as JSON Lines in a new file."""
        if not text:
            raise UsageError("/save needs a file, as in `/save chat.jsonl`")
        from dycoke_cli.storage.output_file import check_suffix

        check_suffix(Path(text), [".jsonl"], "/save")
        try:
            with open(text, "x", encoding="utf-8") as file:
                file.writelines(f"{to_json(one.to_dict())}\n" for one in self.answers)
        except OSError as error:  # the chat goes on
            why = f"{text} can't be written ({error.strerror}); name another file"
            raise DycokeError(why) from error
        render.note(f"Saved to {text}")

    def help(self, _: str) -> None:
        """List the commands."""
        for name, action in COMMANDS.items():
            render.note(f"/{name}: {inspect.getdoc(action)}")
        render.note("/quit: End the chat (or Ctrl-D).")

    def _last(self) -> Answer:
        if not self.answers:
            raise UsageError("there is no answer yet: ask a question first")
        return self.answers[-1]


COMMANDS: dict[str, Callable[[_Chat, str], None]] = {
    "method": _Chat.method,
    "compare": _Chat.compare,
    "stats": _Chat.stats,
    "video": _Chat.video,
    "clear": _Chat.clear,
    "save": _Chat.save,
    "help": _Chat.help,
}
"""Slash commands by name; /quit and /exit are handled by the loop."""
