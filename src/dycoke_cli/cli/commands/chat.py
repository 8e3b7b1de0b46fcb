"""`dycoke chat`: interactive conversation about a video, with slash commands."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from dycoke_cli.answer.answer import Answer
from dycoke_cli.cli import failure, pages, render
from dycoke_cli.cli.commands.ask import BUNDLED_NOTE
from dycoke_cli.cli.commands.presenter import AsText
from dycoke_cli.cli.commands.transcript import save
from dycoke_cli.cli.flags import options, request_flags
from dycoke_cli.cli.flags.method_flags import MethodFlags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags
from dycoke_cli.cli.flags.spread import spread
from dycoke_cli.cli.flags.words import quoted
from dycoke_cli.compression.base import Method
from dycoke_cli.errors import DycokeError, OutputError, UsageError
from dycoke_cli.evaluation.method_specs import parse_spec
from dycoke_cli.unicode import is_valid
from dycoke_cli.video.pictures import as_named
from dycoke_cli.video.stdin import STDIN

if TYPE_CHECKING:
    from dycoke_cli.runs.chat_state import Chat

Videos = Annotated[
    list[str],
    typer.Argument(
        metavar="VIDEO…",
        help="A video file, or a folder of pictures, which are its frames. Several are shown "
        "together, where the model allows it.",
        show_default=False,
    ),
]
BRIEF = f"{request_flags.BRIEF} --temperature --seed --cache".replace("--question", "").replace(
    "--estimate", ""
)


@spread
def chat(
    *,
    videos: Videos,
    model: request_flags.Model,
    sampling: request_flags.Frames,
    subtitles: options.Subtitles = None,
    limits: request_flags.Limiting,
    loading: request_flags.Loading,
    method: MethodFlags,
    generation: request_flags.Generation,
    cache: options.Cache = False,
    quiet: options.Quiet = False,
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
    request = method.applied(
        request_flags.request(
            model, loading, sampling, generation, subtitles=subtitles, limits=limits
        )
    )
    note = BUNDLED_NOTE if model.named is None and not quiet else None
    by_hand = sys.stdin is not None and sys.stdin.isatty()
    with _Turns(quiet, note, several=not by_hand) as turns:
        turns.stage("start")
        from dycoke_cli.runs.chat_state import Chat
        from dycoke_cli.runs.conversation import Conversation

        with speaking_of_flags():
            state = Chat(Conversation(as_named(videos), [], request, cache=cache), turns)
        turns.announce()
        turns.stop()
        commands = _Commands(state, turns)
        if by_hand and not quiet:
            render.note("/help lists the commands")
        failed = 0
        for line in _typed() if by_hand else _piped():
            if line in ("/quit", "/exit"):
                break
            failed += not _done(commands, line, by_hand)
    if failed and not by_hand:
        raise typer.Exit(1)


class _Turns(AsText):
    """Answers as text; one that was interrupted is cut, and the next has its own clock.

    Args:
        quiet: leave stderr to errors.
        note: see `View`.
        several: show each question before its answer, which is one line.
    """

    more = "/stats"

    def __init__(self, quiet: bool, note: str | None, several: bool) -> None:
        super().__init__(2 if several else 1, quiet, note)

    def begin(self, question: str) -> None:
        """Begin the clock, too: somebody thought about the question since the last answer."""
        self._waiting_since = time.monotonic()
        super().begin(question)

    def interrupted(self) -> None:
        """End the line of an answer that stops here."""
        self.stop()
        self._answer.abandon()


def _done(commands: _Commands, line: str, by_hand: bool) -> bool:
    """Do what a line says; whether that went well."""
    try:
        with speaking_of_flags():
            commands.run(line)
    except KeyboardInterrupt:
        commands.turns.interrupted()
        if not by_hand:
            raise
        render.note("stopped")
    except (BrokenPipeError, OutputError):
        raise
    except Exception as error:
        commands.turns.interrupted()
        failure.show_traceback()
        failure.say(failure.explain(error))
        return False
    return True


def _piped() -> Iterator[str]:
    """The lines of stdin that aren't empty, as they come."""
    if sys.stdin is None:
        raise UsageError("stdin is closed; chat reads a question per line from it")
    for number, line in enumerate(sys.stdin.buffer):
        try:
            text = line.decode("utf-8-sig" if number == 0 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise UsageError("the questions on stdin aren't UTF-8 text") from error
        if text:
            yield text


def _typed() -> Iterator[str]:
    """The lines that somebody types, which are edited, completed and kept for the next chat."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.output import create_output

    from dycoke_cli.storage.cache_folder import cache_folder, make_folder

    history: History = InMemoryHistory()
    with suppress(OSError):
        make_folder(cache_folder())
        path = cache_folder() / "chat_history"
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
        history = FileHistory(path)
    prompt: PromptSession[str] = PromptSession(
        history=history,
        completer=WordCompleter([*(f"/{name}" for name in COMMANDS), "/quit"], sentence=True),
        output=create_output(sys.stderr),  # stdout is for answers alone
    )
    while True:
        try:
            text = prompt.prompt("> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text:
            yield text


class _Commands:
    """What a line does.

    Args:
        chat: the conversation.
        turns: shows it.
    """

    def __init__(self, chat: Chat, turns: _Turns) -> None:
        self.chat, self.turns = chat, turns

    def run(self, line: str) -> None:
        """Ask a question, or run a command.

        Raises:
            UsageError: there is no such command, or the line isn't text.
            DycokeError: it failed.
        """
        if not is_valid(line):
            raise UsageError("the question isn't UTF-8 text; convert it to UTF-8")
        if not line.startswith("/"):
            self.chat.ask(line, self.turns)
            return
        name, _, rest = line[1:].partition(" ")
        if name not in COMMANDS:
            raise UsageError(f"there is no command /{name}: /help lists them")
        COMMANDS[name].does(self, rest.strip())

    def method(self, text: str) -> None:
        """Choose a method, or say which is chosen."""
        method = self.chat.conversation.request.method
        if text:
            method = self.chat.use(parse_spec(text).create())
        render.note(f"Method: {_in_words(method)}")

    def compare(self, text: str) -> None:
        """Ask with and without compression: a question, or the last one."""
        self.chat.compare(text or self._last("/compare QUESTION asks one").question, self.turns)

    def stats(self, _: str) -> None:
        """The panel of the last answer."""
        answer = self._last("ask a question first")
        if answer.refused:
            raise UsageError("the last question wasn't put to the model: it has no figures")
        render.statistics(answer, answer.seconds.total, 0.0, whole=True)

    def frames(self, _: str) -> None:
        """Which frames were read."""
        for video, times in zip(self.chat.conversation.names, self.chat.timestamps_s, strict=True):
            listed = ", ".join(f"{time_s:.2f}" for time_s in times)
            render.note(f"{video}: {len(times)} frames at {listed} s")

    def video(self, text: str) -> None:
        """Go on with another video."""
        try:
            videos = tuple(shlex.split(text)) if text and not os.path.exists(text) else (text,)
        except ValueError as error:
            raise UsageError(f"/video: {error} in {text}") from error
        if not text or STDIN in videos:
            raise UsageError("/video needs a file, as in `/video clip.mp4`")
        self.chat.show(as_named(videos), self.turns)
        self.turns.stop()
        render.note(f"Now about {' and '.join(map(quoted, videos))}; a new conversation")

    def clear(self, _: str) -> None:
        """Forget what was said."""
        self.chat.forget()
        render.note("A new conversation about the same video")

    def save(self, text: str) -> None:
        """Write the conversation to a file."""
        if not text:
            raise UsageError("/save needs a file, as in `/save chat.md` (or .jsonl)")
        with _writing(text):
            save(text, self.chat.answers)
        render.note(f"Saved to {text}")

    def inspect(self, text: str) -> None:
        """Write the page of the last question, asked alone: by the method, and without."""
        from dycoke_cli.cli.commands.inspect import page_of_question

        question = self._last("ask a question first").question
        if not text.lower().endswith((".html", ".htm")):
            raise UsageError("/inspect needs a file, as in `/inspect page.html`")
        conversation = self.chat.conversation
        if len(conversation.sources) > 1:
            raise UsageError("/inspect shows one video")
        content = page_of_question(
            self.chat.session, conversation.videos[0], question, conversation.request
        )
        with _writing(text), open(text, "x", encoding="utf-8") as file:
            file.write(content)
        render.note(f"Written: {text}")

    def help(self, _: str) -> None:
        """The commands."""
        for name, command in COMMANDS.items():
            render.note(f"{f'/{name} {command.takes}'.strip()}: {command.help}")
        render.note("/quit: End the chat (or Ctrl-D)")

    def _last(self, otherwise: str) -> Answer:
        if not self.chat.answers:
            raise UsageError(f"there is no answer yet: {otherwise}")
        return self.chat.answers[-1]


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """Errors of writing a file don't end the chat: another one may do."""
    try:
        yield
    except OSError as error:
        why = f"{path} can't be written ({error.strerror}); name another file"
        raise DycokeError(why) from error


def _in_words(method: Method) -> str:
    """A method as `/method` takes it, and in parentheses what is at its default.

    Between those are spaces, at which a narrow terminal breaks the line.
    """
    usual = type(method)().parameters()
    given = {name: value for name, value in method.parameters().items() if value is not None}
    words = {name: f"{name}={value}" for name, value in given.items()}
    own = ",".join(word for name, word in words.items() if given[name] != usual[name])
    rest = ", ".join(word for name, word in words.items() if given[name] == usual[name])
    return ":".join(filter(None, [method.name, own])) + (f" ({rest})" if rest else "")


@dataclass(frozen=True)
class _Command:
    """A command: what it takes, what it does in words, and the function."""

    takes: str
    help: str
    does: Callable[[_Commands, str], None]


COMMANDS = {
    "method": _Command(
        "[SPEC]", "Choose a method, as in dycoke-plus:retain=0.25", _Commands.method
    ),
    "compare": _Command("[QUESTION]", "Ask with and without compression", _Commands.compare),
    "stats": _Command("", "All figures of the last answer", _Commands.stats),
    "frames": _Command("", "The frames that were sampled", _Commands.frames),
    "inspect": _Command("FILE.html", "Show what was kept, and attended to", _Commands.inspect),
    "video": _Command("FILE", "Go on with another video", _Commands.video),
    "clear": _Command("", "Begin a new conversation", _Commands.clear),
    "save": _Command("FILE", "Save it as Markdown, or as JSON Lines (.jsonl)", _Commands.save),
    "help": _Command("", "List the commands", _Commands.help),
}
"""What may stand behind a slash, besides /quit."""
