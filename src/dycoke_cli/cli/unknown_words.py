"""Errors of a command line: what is unknown, missing or too much, and what to type instead.

A suggestion has the same meaning, by tables of other programs' words, or is a typing error away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import typer

from dycoke_cli.cli import pages
from dycoke_cli.errors import UsageError, closest
from dycoke_cli.models.catalog import CATALOG

_COMMANDS = {
    "dycoke": "leave the second dycoke out",
    "list": "`dycoke models` lists models",
    "pull": "`dycoke models pull NAME` downloads a model",
    "run": "`dycoke ask VIDEO QUESTION` asks, and `dycoke chat VIDEO` keeps the model loaded",
    "ps": "a model is loaded while a command runs; `dycoke serve` keeps one loaded",
    **dict.fromkeys(
        ("describe", "summarize"), '`dycoke ask VIDEO "What happens?"` asks about a video'
    ),
    "version": "`dycoke --version` prints it",
    "when": "`dycoke ask VIDEO QUESTION --when` finds when it is true",
    "stop": "Ctrl-C ends `dycoke serve`; no other command goes on by itself",
    "completion": "`dycoke --install-completion` has the shell complete commands and flags",
}
"""Commands of other programs, and what does the same here."""
_MEANT = {
    "num-frames": "--frames",
    "prompt": "--question",
    "output": "--out",
    "csv": "--out FILE.csv",
    "baseline": "--method none",
    "cpu": "--device cpu",
    "gpu": "--device cuda",
    "verbose": "--stats",
    "jobs": "--workers",
    "8bit": "--quantize int8",
    "4bit": "--quantize int4",
}
"""Flags of other programs, and those of the same meaning here."""
_MISPLACED = {
    ("serve", "start"): "`dycoke serve` starts the server, and Ctrl-C ends it: leave start out",
    ("serve", "stop"): "Ctrl-C ends `dycoke serve`, in the terminal where it runs",
}
"""Words of other programs behind a command, and what to type."""
_WRITES = "`dycoke batch VIDEO QUESTION --out FILE.csv` writes a table, and `>` an answer"
_OF_BATCH = dict.fromkeys(("out", "output", "o", "csv"), _WRITES) | {
    "questions": "`dycoke batch VIDEO --questions FILE` asks what stands in a file"
}
"""Flags that `ask` hasn't, and what has them."""
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
        return _unknown_flag(flag, flags, context.info_name, page)
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
        near = closest(unknown[1], context.command.commands)
        meant = f": did you mean `{context.command_path} {near}`?" if near else f" {page}"
        return UsageError(f"{context.command_path} has no command {unknown[1]!r}{meant}")
    if (extra := _EXTRA.search(error.message)) is not None:
        if (context.info_name, extra[1]) in _MISPLACED:
            return UsageError(_MISPLACED[context.info_name, extra[1]])
        if "--model" in flags and extra[1] in CATALOG:
            return UsageError(f"a model stands behind a flag: --model {extra[1]} {page}")
        lists = [one for one in flags.values() if "…" in (one.metavar or "")]
        return UsageError(
            f"there is no place for {extra[1]!r}: put what has spaces in quotes"
            + (", and commas between the parts of a list" if lists else "")
            + f"; {example}"
        )
    return UsageError(f"{error.format_message().rstrip('.')} {page}")


def _unknown_flag(flag: str, flags: Iterable[str], command: str, page: str) -> UsageError:
    if command == "chat" and flag in ("--every", "--when"):
        return UsageError(
            "a chat goes on about the frames that it began with: `dycoke ask VIDEO QUESTION "
            f"{flag}` asks about parts"
        )
    if command == "ask" and (ours := _OF_BATCH.get(flag.lstrip("-"))) is not None:
        return UsageError(f"there is no flag {flag}: {ours}")
    sentence, spelled = f"there is no flag {flag}", flag.replace("_", "-")
    if flag in ("--video", "--input", "-i"):
        return UsageError(f"{sentence}: name a video without a flag {page}")
    # A command's own flag means itself, whatever it is called elsewhere.
    words = {f"--{word}": one for word, one in _MEANT.items() if one.partition(" ")[0] in flags}
    words |= {one: one for one in flags}
    exact = words.get(spelled) or words.get(f"--{spelled.lstrip('-').lower()}")
    if exact is None and (parameter := _of_a_method(flag)):
        method = "--method" if "--method" in flags else "--methods"
        return UsageError(f"{sentence}; give it with the method: {method} {parameter} {page}")
    near = exact or words.get(closest(spelled, [*flags, *words]) or "")
    return UsageError(f"{sentence}; did you mean {near}? {page}" if near else f"{sentence} {page}")


def _of_a_method(option: str) -> str | None:
    """What `--method` takes in place of an option such as --merge-dropped; else None."""
    from dycoke_cli.compression.registry import owners  # slow to import, and no usual answer

    name = option.removeprefix("--").removeprefix("no-").replace("-", "_")
    method = next(iter(owners().get(name, ())), None)
    return method and f"{method}:{name}=…"
