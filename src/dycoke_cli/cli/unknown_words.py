"""Errors of a command line: what is unknown, missing or too much, and what to type instead.

A suggestion has the same meaning, by tables of other programs' words, or is a typing error away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import typer
from typer.core import TyperArgument

from dycoke_cli.cli import pages
from dycoke_cli.cli.flags.arguments import has_suffix, quoted
from dycoke_cli.errors import UsageError, closest
from dycoke_cli.models.catalog import CATALOG
from dycoke_cli.param import meant_by

_COMMANDS = {
    "dycoke": "leave the second dycoke out",
    "evaluate": "`dycoke eval BENCHMARK` measures accuracy",
    "list": "`dycoke models` lists models",
    "pull": "`dycoke models pull NAME` downloads a model",
    "run": "`dycoke ask VIDEO QUESTION` asks, and `dycoke chat VIDEO` keeps the model loaded",
    "ps": "a model is loaded while a command runs; `dycoke serve` keeps one loaded",
    **dict.fromkeys(
        ("describe", "summarize"), '`dycoke ask VIDEO "What happens?"` asks about a video'
    ),
    "login": "`hf auth login` (of huggingface_hub) keeps a token for models that need a login",
    "version": "`dycoke --version` prints it",
    "when": "`dycoke ask VIDEO QUESTION --when` finds when it is true",
    "stop": "Ctrl-C ends `dycoke serve`; no other command goes on by itself",
    "completion": "`dycoke --install-completion` has the shell complete commands and flags",
}
"""Commands of other programs, and what does the same here."""
_MEANT = {
    "--dtype": ("torch-dtype",),
    "--end": ("to",),
    "--frames": ("num-frames",),
    "--max-tokens": ("n", "n-predict"),
    "--model": ("m",),
    "--out": ("o", "output"),
    "--out FILE.csv": ("csv",),
    "--out FILE.srt": ("output-format",),
    "--out-dir": ("output-dir",),
    "--question": ("p", "prompt"),
    "--start": ("ss",),
    "--stats": ("v", "verbose"),
    "--workers": ("jobs", "threads"),
    "--method none": ("baseline",),
    "--device cpu": ("cpu",),
    "--device cuda": ("gpu", "ngl"),
    "--device-map auto": ("tensor-parallel-size",),
    "--quantize int4": ("4bit", "load-in-4bit"),
    "--quantize int8": ("8bit", "load-in-8bit"),
}
"""Flags here, and those of the same meaning in other programs."""
_HAVE_NONE = {
    **dict.fromkeys(
        ("dry-run", "estimate"), "`dycoke ask VIDEO QUESTION --estimate` shows what one takes"
    ),
    **dict.fromkeys(("force", "overwrite"), "name another file for the output, or delete the old"),
    **dict.fromkeys(("i", "input", "video"), "name a video without a flag"),
    **dict.fromkeys(
        ("ctx-size", "max-model-len", "num-ctx"), "--video-tokens bounds what a video takes of it"
    ),
    "format": "--json prints JSON, and `dycoke batch VIDEO QUESTION --out FILE.csv` writes a table",
    "language": "ask in the language of the answer; --subtitles speech:de hears German",
    "limit": 'name fewer videos, as in "footage/a*.mp4"',
    "recursive": "a folder is read with the folders in it, so leave it out",
    "resume": "the same command with the same --out resumes, so leave it out",
    "system": "put what the model is to know into the question",
    "t": "--end takes a time in the video, and --every the length of parts",
    "tasks": "name the benchmark without a flag, as in `dycoke eval shapes`",
    "top-p": "--temperature is the only setting of sampling; leave it out",
    "trust-remote-code": "code that comes with a model is never run, so leave it out",
    "vf": "--fps, --frames and --start choose the frames",
    "y": "no command asks back, so leave it out",
}
"""Flags of other programs without an equal here, and what to do."""
_WRITES = "`dycoke batch VIDEO QUESTION --out FILE.csv` writes a table, and `>` an answer"
_ELSEWHERE = {
    "ask": dict.fromkeys(("out", "output", "o", "csv"), _WRITES)
    | {"questions": "`dycoke batch VIDEO --questions FILE` asks what stands in a file"},
    "batch": {"json": "lines of JSON are what comes on stdout, and in --out FILE.jsonl"},
    "cache": {"clear": "`dycoke cache clear` deletes encoded videos"},
    "chat": {"json": "`dycoke ask VIDEO QUESTION --json` prints JSON"}
    | {
        flag: "a chat goes on about the frames that it began with: "
        f"`dycoke ask VIDEO QUESTION --{flag}` asks about parts"
        for flag in ("every", "when")
    },
    "probe": {"every": "a frame every 2 s is --fps 0.5"},
    "serve": {
        "api-key": "set DYCOKE_API_KEY in the environment",
        "start": "`dycoke serve` starts the server, and Ctrl-C ends it: leave start out",
        "stop": "Ctrl-C ends `dycoke serve`, in the terminal where it runs",
    },
}
"""By command, flags and words that it hasn't, and what does the same."""
_SUBCOMMAND = re.compile(r"No such command '(.*?)'")
_EXTRA = re.compile(r"unexpected extra arguments?(?:\(s\))? \((.*)\)")


def unknown_command(word: str, known: Iterable[str]) -> UsageError:
    """Error about a command that doesn't exist."""
    if (ours := _COMMANDS.get(word)) is not None:
        return UsageError(f"there is no command {word}: {ours}")
    near = closest(word, known)
    hint = f"did you mean `dycoke {near}`?" if near else "`dycoke --help` lists the commands"
    return UsageError(f"there is no command and no file {word!r}: {hint}")


def explain(error: typer.TyperException) -> UsageError:
    """Convert Typer's usage error to one sentence, with what to type instead."""
    context = getattr(error, "ctx", None)
    if context is None:
        return UsageError(error.format_message().rstrip("."))
    page = f"(see `{context.command_path} --help`)"
    flag, parameter = getattr(error, "option_name", None), getattr(error, "param", None)
    flags = {name: one for one in context.command.get_params(context) for name in one.opts}
    if flag in flags:
        return UsageError(f"{flag} needs a value: {flag} {flags[flag].metavar} {page}")
    if flag is not None:
        return _unknown_flag(flag, context)
    examples = pages.page_of(context.command, context).examples
    example = f"an example: `{examples[0]}`" if examples else page
    if parameter is not None and hasattr(error, "param_type"):
        return UsageError(f"{parameter.metavar or parameter.name} is missing; {example}")
    if parameter is not None:
        # Pydantic's sentences begin with the kind of error, and name no value.
        message = error.message.removeprefix("Value error, ").rstrip(".")
        message = message.replace("Input should be", "it must be")
        for noun, number in (("integer", "a whole number"), ("number", "a number")):
            message = f"it takes {number}" if f"valid {noun}" in message else message
        name = max(parameter.opts, key=len)  # of an argument, no word that a user knows
        name = name if name.startswith("-") else context.command_path
        return UsageError(f"{name}: {message} {page}")
    if (unknown := _SUBCOMMAND.search(error.message)) is not None:
        deletes = unknown[1] in ("delete", "purge", "remove", "rm")
        near = closest("clear" if deletes else unknown[1], context.command.commands)
        meant = f": did you mean `{context.command_path} {near}`?" if near else f" {page}"
        return UsageError(f"{context.command_path} has no command {unknown[1]!r}{meant}")
    if (extra := _EXTRA.search(error.message)) is not None:
        return _unexpected(extra[1], context, flags, example, page)
    return UsageError(f"{error.format_message().rstrip('.')} {page}")


def _unexpected(
    word: str, context: Any, flags: Mapping[str, Any], example: str, page: str
) -> UsageError:
    """Error about a word behind a command that has no place for it."""
    if (advice := _ELSEWHERE.get(context.info_name, {}).get(word)) is not None:
        return UsageError(advice)
    # An id of the hub has one slash, and so has a folder with a model.
    is_model = word in CATALOG or (word.count("/") == 1 and not has_suffix(word))
    if "--model" in flags and is_model:
        return UsageError(f"a model stands behind a flag: --model {word} {page}")
    if not any(isinstance(one, TyperArgument) for one in flags.values()):
        advice = "leave it out"
        if has_suffix(word):
            advice = f'`dycoke ask {quoted(word)} "What happens?"` asks about a video'
        return UsageError(
            f"there is no place for {word!r}, {context.command_path} takes flags alone: {advice} "
            f"{page}"
        )
    lists = [one for one in flags.values() if "…" in (one.metavar or "")]
    return UsageError(
        f"there is no place for {word!r}: put what has spaces in quotes"
        + (", and commas between the parts of a list" if lists else "")
        + f"; {example}"
    )


def _unknown_flag(flag: str, context: Any) -> UsageError:
    """Error about a flag that a command hasn't."""
    from dycoke_cli.compression.registry import DEFAULT, METHODS, owner_near  # slow

    sentence, page = f"there is no flag {flag}", f"(see `{context.command_path} --help`)"
    spelled = flag.replace("_", "-")
    name = spelled.lstrip("-")
    known = [name for one in context.command.get_params(context) for name in one.opts]
    words = {
        f"--{word}": ours
        for ours, theirs in _MEANT.items()
        if ours.partition(" ")[0] in known
        for word in theirs
    }
    # A command's own flag means itself, whatever it is called elsewhere.
    words |= {one: one for one in known if one.startswith("-")}
    exact = words.get(spelled) or words.get(f"--{name}") or words.get(f"--{name.lower()}")
    by_symbol = f"--{meant_by(name, METHODS[DEFAULT]).replace('_', '-')}"
    if name.isupper() and by_symbol in known:  # the paper's letter
        exact = by_symbol
    elsewhere = _ELSEWHERE.get(context.info_name, {})
    if exact is None and (ours := elsewhere.get(name) or _HAVE_NONE.get(name)) is not None:
        return UsageError(f"{sentence}: {ours}")
    parameter = name.removeprefix("no-").replace("-", "_")
    if exact is None and (method := owner_near(parameter, DEFAULT)):
        by = f"{'--method' if '--method' in known else '--methods'} {method}:{parameter}=…"
        return UsageError(f"{sentence}; give it with the method: {by} {page}")
    is_root = context.parent is None
    # One letter begins many names, and is a typing error away from none.
    guess = closest(spelled, words) if is_root or len(name) > 1 else None
    if near := exact or words.get(guess or ""):
        return UsageError(f"{sentence}; did you mean {near}? {page}")
    if is_root:
        meant = next((ours for ours, theirs in _MEANT.items() if name in theirs), flag)
        return UsageError(
            f"{sentence} in front of a command: put it behind, as in "
            f"`dycoke ask VIDEO QUESTION {meant}` {page}"
        )
    return UsageError(f"{sentence} {page}")
