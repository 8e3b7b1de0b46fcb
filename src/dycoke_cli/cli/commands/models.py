"""`dycoke models`: lists and downloads models."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from dycoke_cli.cli import output, pages, render
from dycoke_cli.cli.flags import shared_flags
from dycoke_cli.cli.render.units import size
from dycoke_cli.errors import UsageError, closest

if TYPE_CHECKING:
    from dycoke_cli.cli.commands.model_documents import ListedModel, ModelList


_REMOVED = "`hf cache rm model/OWNER/NAME` (of huggingface_hub) removes what was downloaded"
_PULLED = "`dycoke models pull NAME` downloads one"
_NAMED = "--model NAME names one, and so does DYCOKE_MODEL"
_ELSEWHERE = {
    **dict.fromkeys(("remove", "rm", "delete"), _REMOVED),
    **dict.fromkeys(("download", "install", "add", "get"), _PULLED),
    **dict.fromkeys(("use", "set", "select"), _NAMED),
}
"""Subcommands of other programs, and what does the same."""


class _Models(pages.Group):
    """Group whose default subcommand is `list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments, after inserting `list` if they don't begin with a subcommand."""
        if len(args) > 1 and args[0] in _ELSEWHERE:
            raise UsageError(_nothing_found(args))
        others = {*self.commands, *ctx.help_option_names}
        if not ctx.resilient_parsing and not {*args[:1]} & others:
            args = ["list", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = pages.App(_Models)

_FLAGS = shared_flags.flag_table(
    """
    WORD…: Only those with all of these words in name, repository, family or note.
    --fits: Only those whose weights fit into the free memory, with the time of a clip here.
    --downloaded: Only those that are on this machine.
    --revision NAME: Branch, tag or commit. Default: the main branch.
    """,
)


@app.callback()
def models() -> None:
    """List and download models.

    Examples:
        dycoke models
        dycoke models qwen --fits
        dycoke models pull llava-onevision-0.5b

    Without a subcommand, lists models as `dycoke models list` does.
    """


@app.command("list")
def list_models(
    words: Annotated[list[str] | None, _FLAGS["WORD…"]] = None,
    fits: Annotated[bool, _FLAGS["--fits"]] = False,
    downloaded: Annotated[bool, _FLAGS["--downloaded"]] = False,
    as_json: shared_flags.Json = False,
) -> None:
    """List models: test status, whether they fit in memory, and whether they are downloaded.

    Examples:
        dycoke models list --fits
        dycoke models list qwen --downloaded --json

    The table begins with the bundled model, the default, downloaded models and those that fit.
    """
    # Imported late, as in the other commands: help and completion need the flags alone.
    from dycoke_cli.answer.json_schema import to_dict
    from dycoke_cli.cli.commands.estimate import usual_seconds
    from dycoke_cli.cli.commands.model_documents import all_models, models_table
    from dycoke_cli.engine.memory.flops import BUSY, is_overloaded
    from dycoke_cli.models.catalog import find

    document = all_models()
    chosen = [
        model
        for model in document.models
        if (not fits or model.fits in ("gpu", "ram"))
        and (not downloaded or (model.on_disk is not None and model.on_disk.complete))
        and _has(model, words or [])
    ]
    if words and not chosen:
        raise UsageError(_nothing_found(words))
    if fits:
        chosen = [replace(model, seconds=usual_seconds(find(model.name))) for model in chosen]
    if as_json:
        output.write_json(to_dict(replace(document, models=tuple(chosen))))
        return
    ranked = sorted(chosen, key=lambda model: _rank(model, document))
    render.to_stdout(models_table(replace(document, models=tuple(ranked))))
    if fits and is_overloaded():
        render.note(BUSY)


def _has(model: ListedModel, words: Sequence[str]) -> bool:
    """Whether all words are in a model's name, repository, family or note."""
    fields = (model.name, model.repo, model.family, model.note)
    text = " ".join(each for each in fields if each is not None).lower()
    return all(word.lower() in text for word in words)


def _nothing_found(words: Sequence[str]) -> str:
    if words[0] in _ELSEWHERE:
        return f"dycoke models has no {words[0]}: {_ELSEWHERE[words[0]]}"
    if words[0] in ("search", "find") and words[1:]:
        return f"dycoke models has no {words[0]}: did you mean `dycoke models {words[1]}`?"
    near = closest(words[0], [str(each.name) for each in app.registered_commands])
    hint = f"did you mean `dycoke models {near}`?" if near else "`dycoke models` lists all"
    return f"no model that fits what was given has {' '.join(words)!r} in its name or note; {hint}"


def _rank(model: ListedModel, document: ModelList) -> tuple[bool, ...]:
    """Sort key: bundled, default, downloaded and fitting models come first."""
    return (
        model.repo is not None,
        model.name != document.default,
        model.on_disk is None or not model.on_disk.complete,
        model.fits not in ("gpu", "ram"),
    )


@app.command("info")
def info(name: shared_flags.ModelArgument, as_json: shared_flags.Json = False) -> None:
    """Show the details of a model; no weights are downloaded.

    Examples:
        dycoke models info qwen2.5-vl-3b
        dycoke models info ./my-checkpoint --json
    """
    from dycoke_cli.cli.commands.model_documents import model_table, one_model
    from dycoke_cli.models.catalog import find

    output.show(one_model(find(name)), as_json, model_table)


@app.command("pull")
def pull(
    name: shared_flags.ModelArgument,
    revision: Annotated[str | None, _FLAGS["--revision"]] = None,
    quiet: shared_flags.Quiet = False,
) -> None:
    """Download a model ahead of time; print the commit.

    Examples:
        dycoke models pull llava-onevision-0.5b
        dycoke models pull my-org/my-model --revision v2

    Only files that loading reads are downloaded; an interrupted pull resumes with the file that it
    was at.
    """
    from dycoke_cli.cli.commands.estimate import spelled, usual_seconds
    from dycoke_cli.engine.memory.flops import BUSY, is_overloaded
    from dycoke_cli.models.catalog import find

    source = find(name)
    if source.local:
        render.note(f"{name} is a folder on this machine already; there is nothing to pull")
        return
    from dycoke_cli.models.files import hub

    if not quiet:
        nbytes = source.entry and source.entry.download_bytes
        seconds = usual_seconds(source) if sys.stderr.isatty() else None  # for a person to decide
        time = f"; a clip takes about {spelled(seconds)} on this machine" if seconds else ""
        time += f" ({BUSY})" if seconds and is_overloaded() else ""
        render.note(f"downloading {name}{f' ({size(nbytes)})' if nbytes else ''}{time}")
    folder = hub.pull(source, revision, quiet)
    if not quiet:
        render.note(f"{name} is on this machine, in {folder}")
    output.line(folder.name)
