"""`dycoke inspect`: shows the visual tokens that a method keeps, and the attention per word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.cli import output, pages, render
from dycoke_cli.cli.commands.ask import BUNDLED_NOTE
from dycoke_cli.cli.flags import request_flags, shared_flags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags, spread
from dycoke_cli.cli.render.view import View
from dycoke_cli.errors import OutputError
from dycoke_cli.inspect.inspection import SCHEMA, Inspection, inspect_question, pictures
from dycoke_cli.models.load_options import SPEECH_MODEL
from dycoke_cli.storage.output_file import check_output_file, check_suffix, short_name
from dycoke_cli.unicode import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.request import Request

_FLAGS = shared_flags.flag_table("""
    QUESTION: What to ask.
    [Compression]
    --against NAME[:PARAMETER=X,…]: Second method to show, as in --method.
    [Output]
    --out FILE.html: Also write a page that shows both, by frame, token and word of the answer: one
        file, which needs no network.
""")
BRIEF = """
    --against --out --json --model --frames --fps --start --end --device --method
    --merge-ratio --prune-ratio --prune-layer --retain --max-tokens --quiet
"""


@spread
def inspect(
    *,
    video: shared_flags.VideoArgument,
    question: Annotated[str, _FLAGS["QUESTION"]],
    how: request_flags.Asking,
    subtitles: shared_flags.Subtitles = None,
    speech_model: shared_flags.SpeechModel = SPEECH_MODEL,
    method: request_flags.MethodFlags,
    against: Annotated[str, _FLAGS["--against"]] = "none",
    out: Annotated[Path | None, _FLAGS["--out"]] = None,
    as_json: shared_flags.Json = False,
    quiet: shared_flags.Quiet = False,
    help_all: pages.HelpAll = False,
) -> None:
    """Show which visual tokens a method keeps, and what each word of the answer attends to.

    Examples:
        dycoke inspect holiday.mp4 "What happens?" --out page.html
        dycoke inspect clip.mp4 "How many?" --against dycoke-plus --out page.html
        dycoke inspect clip.mp4 "How many?" --json

    The answers, and how many tokens each method keeps, go to stdout.
    """
    waiting = [{"video": video, "question": question}]
    with output.failures_as_json(as_json, SCHEMA, waiting):
        methods = [method.chosen()]
        other = request_flags.MethodFlags(against).chosen()
        if other != methods[0]:
            methods.append(other)
        # Before the model is loaded, so that an unusable path costs no time.
        if out is not None:
            from dycoke_cli.storage.made_files import check_replaceable, stays, write_made

            check_output_file(out, "--out", "the new file would take its place")
            check_suffix(out, (".html",), "--out")
            check_replaceable(out)
        request = how.request(methods[0], subtitles=subtitles, speech_model=speech_model)
        note = BUNDLED_NOTE if how.named is None and not quiet and not as_json else None
        with View(quiet, note) as view, speaking_of_flags():
            view.stage("start")
            inspection, frames = _run_inspection(video, question, request, methods, view)
            view.announce()
        is_written = True
        if out is not None:
            from dycoke_cli.inspect.inspection import data_of, page

            content = page(data_of(inspection, frames)).encode()
            if not (is_written := write_made(out, content)):
                render.warning(str(stays([out])))
        if as_json:
            output.write_json(to_dict(inspection))
        else:
            _print(inspection)
    if not is_written:
        raise typer.Exit(OutputError.exit_code)
    if out is not None and not quiet and not as_json:
        render.note(f"Written: {short_name(out)}")


def _run_inspection(
    video: str, question: str, request: Request, methods: list[Any], view: View
) -> tuple[Inspection, list[Image]]:
    # From here on torch is imported, which takes seconds.
    from dycoke_cli.inspect.inspection import PICTURE_PX
    from dycoke_cli.runs.converse import asks_of, engine_of, work_on

    def inspect(session: VideoSession, _: object) -> tuple[Inspection, list[Image]]:
        inspection = inspect_question(session, video, question, methods, request.generation)
        return inspection, pictures(session, PICTURE_PX)

    # The engine keeps no video, and so no prefix: the figures of each method are those of a
    # question asked alone.
    with engine_of(request, view) as engine:
        [ask] = asks_of([video], [question], request)
        inspection, frames = work_on(engine, ask, inspect, view, decoded=True)
    for sentence in dict.fromkeys(w for m in inspection.methods for w in m.warnings):
        view.warning(sentence)
    return inspection, frames


def _print(inspection: Inspection) -> None:
    grid = inspection.grid
    visual = grid.frames * grid.rows * grid.columns
    for each in inspection.methods:
        output.line(f"{each.title}: {len(each.trace.kept):,} of {visual:,} visual tokens kept")
        output.write(f"{one_line(each.answer)}\n\n")
