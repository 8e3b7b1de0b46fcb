"""Errors of a command line: what is unknown, missing or too much, and what to type instead.

A suggestion has the same meaning, by tables of other programs' words, or is a typing error away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import typer

from dycoke_cli.cli import pages
from dycoke_cli.errors import UsageError, closest

_ASKS = '`dycoke ask VIDEO "What happens?"` asks about a video'
_MEASURES = (
    "`dycoke eval shapes` compares methods on a benchmark, and `dycoke bench VIDEO` times them"
)
_ADVICE = {
    "leave the second dycoke out": "dycoke",
    "`dycoke models` lists models": "list list-models ls",
    "`dycoke models pull NAME` downloads a model": "download get install pull",
    "`dycoke models info NAME` shows a model": "info show",
    "`hf cache rm model/ID` deletes a model": "rm",
    "DYCOKE_MODEL in the environment sets the model, and `dycoke doctor` shows what is there": (
        "config configure settings setup"
    ),
    "`dycoke ask VIDEO QUESTION` asks, and `dycoke chat VIDEO` keeps the model loaded": "run",
    "a model is loaded while a command runs; `dycoke serve` keeps one loaded": "ps",
    "`dycoke --version` prints it": "version",
    _ASKS: "answer generate infer predict query question vqa",
    f"`dycoke caption FOLDER` writes captions, and {_ASKS}": (
        "annotate describe summarise summarize tag"
    ),
    f"`dycoke ask VIDEO QUESTION --compare` compares two answers, and {_MEASURES}": "compare",
    "a video's tokens are compressed while it is asked about, and no file is written: "
    f"{_ASKS}": "compress",
    _MEASURES: "benchmark evaluate measure test time",
    "`dycoke eval --list` lists benchmarks": "benchmarks datasets presets",
    "`dycoke ask VIDEO QUESTION --when` finds when it is true": "find search when",
    "`dycoke serve` answers requests, and has a page": "api gui server start ui web",
    "nothing is trained; `dycoke bench` compares methods": "finetune fit train tune",
    "`dycoke doctor` shows what is installed": "check env status",
    "`dycoke --install-completion` has the shell complete commands and flags": (
        "completion completions"
    ),
    "`dycoke cache clear --all` empties the cache": "clean clear",
    "`dycoke convert ANSWERS FILE.csv` makes a table": "export",
}
_COMMANDS = {word: advice for advice, words in _ADVICE.items() for word in words.split()}
"""Commands of other programs, and what does the same here."""

_FLAGS = {
    "--fps": "frame-rate framerate rate sample-rate sampling-rate",
    "--frames": "frame-count n-frames nframes num-frames number-of-frames",
    "--start": "begin from ss",
    "--end": "to until",
    "--every": "interval segment window-length",
    "--question": "ask prompt query text",
    "--questions": "prompts queries",
    "--choices": "answers labels options",
    "--out": "o output output-file save save-to",
    "--json": "format j output-format",
    "--quiet": "s silent",
    "--stats": "debug v verbose",
    "--max-new-tokens": "length max-length max-output-tokens max-token tokens",
    "--temperature": "t temp",
    "--retain": "budget keep keep-ratio ratio retain-ratio retention",
    "--prune-ratio": "prune pruning-ratio",
    "--merge-ratio": "merge merging-ratio",
    "--method": "algorithm compression compressor",
    "--methods": "method",
    "--method none": "baseline no-compress no-compression uncompressed",
    "--model": "checkpoint m model-id model-name model-path weights",
    "--device": "accelerator",
    "--device cuda": "cuda gpu",
    "--device cpu": "cpu no-cuda no-gpu",
    "--dtype": "precision torch-dtype",
    "--dtype float16": "float16 fp16 half",
    "--dtype bfloat16": "bf16 bfloat16",
    "--quantize int4": "4bit 4-bit int4 load-in-4bit",
    "--quantize int8": "8bit 8-bit int8 load-in-8bit",
    "--workers": "jobs num-workers parallel processes",
    "--batch-size": "batch bs",
    "--retry-failed": "resume retry",
    "--subtitles": "srt subs",
    "--limit": "max-samples n num-samples samples",
    "--data": "data-dir dataset-path",
    "--port": "p",
}
_MEANT = {word: flag for flag, words in _FLAGS.items() for word in words.split()}
"""Flags of other programs, and that of the same meaning here."""
_POSITIONAL = ("i", "file", "input", "video", "video-path", "videos")
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
        lists = [one for one in flags.values() if "…" in (one.metavar or "")]
        return UsageError(
            f"there is no place for {extra[1]!r}: put what has spaces in quotes"
            + (", and commas between the parts of a list" if lists else "")
            + f"; {example}"
        )
    return UsageError(f"{error.format_message().rstrip('.')} {page}")


def _unknown_flag(flag: str, flags: Iterable[str], command: str, page: str) -> UsageError:
    from dycoke_cli.loop.features import refusal_of_flag  # no usual answer needs it

    if refused := refusal_of_flag(command, flag):
        return refused
    sentence, spelled = f"there is no flag {flag}", flag.replace("_", "-")
    if flag.lstrip("-") in _POSITIONAL:
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

    turned_off = option.startswith("--no-")
    name = option.removeprefix("--no-" if turned_off else "--").replace("-", "_")
    found = []
    for method, parameter in owners().get(name, {}).items():
        default = parameter.default
        value = parameter.spec.metavar if default is None else default
        if parameter.kind is bool:
            value = not turned_off
        elif parameter.choices:
            value = next(one for one in parameter.choices if one != default)
        text = str(value).lower() if isinstance(value, bool) else value
        found.append((value == default, f"{method}:{name}={text}"))
    # One that changes something, if there is one.
    return min(found, key=lambda one: one[0])[1] if found else None
