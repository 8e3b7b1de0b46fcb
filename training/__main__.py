"""`python -m training`: train and export the bundled model, and make the files that go with it."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dycoke_cli.errors import DycokeError, UsageError
from training.curriculum import Recipe, Stage

if TYPE_CHECKING:
    from training.trainer import Progress

app = typer.Typer(no_args_is_help=True, add_completion=False)
console = Console(stderr=True, soft_wrap=True)  # a path that is cut in two is no path
ROOT = Path(__file__).parents[1]
RUN = Path("runs/mini")
# Weights that only the history has: the commit and its folder. `second` is the bundled model's
# second version (the shipped one is the sixth); `tokens-64` is seed 2, on an H100, chosen before it
# was asked about any compression; `long` was stopped about 40 steps before its end.
KEPT = {
    "second": "6a2dc89:src/dycoke_cli/models/mini/checkpoint",
    "tokens-64": "9166f296:training/tokens-64",
    "long": "32b1b105:training/long",
}
# Steps between two lines of the log.
LOG_EVERY = 10
Folder = Annotated[Path, typer.Option("--run", help="Where the run is kept.")]


@app.callback()
def main() -> None:
    """Make the bundled model, the sample clips, the benchmark `shapes` and new questions."""


@app.command()
def train(
    run: Folder = RUN,
    steps: Annotated[int, typer.Option(min=1, help="Steps in all.")] = Recipe.steps,
    seed: Annotated[int, typer.Option(help="Of weights and data.")] = Recipe.seed,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    begin: Annotated[
        Path | None,
        typer.Option(
            help="A run, or a checkpoint folder, whose weights a new run starts with, for the last "
            "two stages alone, at half the rate or less."
        ),
    ] = None,
    dropout: Annotated[
        bool, typer.Option("--dropout/--no-dropout", help="Of visual tokens and of frames.")
    ] = Recipe.dropout,
) -> None:
    """Train; an interrupted run resumes."""
    from training.trainer import LOG, Trainer, log_line

    with errors_in_a_sentence():
        recipe = replace(Recipe(), steps=steps, seed=seed, dropout=dropout)
        trainer = Trainer(recipe, run, device, begin, console.print)
    run.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        (run / LOG).open("a") as log,
        Bar(*columns, TimeRemainingColumn(), console=console) as bar,
    ):
        task = bar.add_task("start", total=steps, completed=trainer.progress.step)

        def each(progress: Progress, stage: Stage) -> None:
            text = f"{stage.name}: {progress.mean():.0%} correct, loss {progress.loss:.2f}"
            bar.update(task, completed=progress.step, description=text)
            if progress.step % LOG_EVERY == 0:
                log.write(log_line(progress, stage) + "\n")
                log.flush()

        trainer.run(each)


@app.command()
def export(run: Folder = RUN, out: Annotated[Path | None, typer.Option()] = None) -> None:
    """Write a run's weights as the checkpoint folder of the package."""
    from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
    from training.checkpoints import export_run

    with errors_in_a_sentence():
        size = export_run(run, out or BUNDLED_CHECKPOINT, console.print)
    console.print(f"{out or BUNDLED_CHECKPOINT}: {size / 1e6:.1f} MB")


@app.command()
def forms(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="What `export` wrote; the package's checkpoint.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder; the package's checkpoint.")] = None,
) -> None:
    """Write a checkpoint with the tokens by which the bundled model writes forms such as JSON."""
    from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
    from training.forms import export_forms

    with errors_in_a_sentence():
        size = export_forms(checkpoint or BUNDLED_CHECKPOINT, out or BUNDLED_CHECKPOINT)
    console.print(f"{out or BUNDLED_CHECKPOINT}: {size / 1e6:.1f} MB")


@app.command()
def kept(
    name: Annotated[str, typer.Argument(help=f"{', '.join(KEPT)}.")],
    out: Annotated[Path | None, typer.Option(help="The folder; runs/NAME-kept.")] = None,
) -> None:
    """Take the weights of an earlier run from the repository's history."""
    with errors_in_a_sentence():
        if name not in KEPT:
            raise UsageError(f"no weights are kept as {name}: give {' or '.join(KEPT)}.")
        done = subprocess.run(["git", "archive", KEPT[name]], cwd=ROOT, capture_output=True)
        if done.returncode:
            raise UsageError(f"git has no {KEPT[name]}: run this in a clone with all history.")
    folder = out or Path("runs", f"{name}-kept")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    console.print(str(folder))


@app.command()
def samples(
    folder: Annotated[Path, typer.Option(help="Gets the clips.")] = Path("sample_videos"),
) -> None:
    """Render the sample clips, their table and questions, and the clip of `dycoke demo`."""
    from training.world.samples import write_samples

    for path in write_samples(folder):
        console.print(f"{path}: {path.stat().st_size / 1000:.1f} kB")


@app.command()
def benchmark() -> None:
    """Build the files of the benchmarks `shapes` and `shapes-long`: their scripts and questions."""
    from training.world import benchmark, long_benchmark

    for file, written in (
        (benchmark.FILE, benchmark.write_benchmark()),
        (long_benchmark.LONG_FILE, long_benchmark.write_long_benchmark()),
    ):
        console.print(f"{file}: {written:,} questions, {file.stat().st_size:,} bytes")


@app.command()
def questions(
    folder: Annotated[Path, typer.Argument(help="Gets the clips and questions.jsonl.")],
    seed: Annotated[int, typer.Option(help="Of the videos and questions.")] = 0,
    videos: Annotated[int, typer.Option(min=1, help="Their number.")] = 200,
) -> None:
    """Write questions about new clips, which `dycoke eval FOLDER/questions.jsonl` asks."""
    from training.world.new_questions import write_questions

    with errors_in_a_sentence():
        file = write_questions(folder, seed, videos)
    console.print(str(file))


@contextmanager
def errors_in_a_sentence() -> Iterator[None]:
    """Ends the program with the error's own sentence and exit code."""
    try:
        yield
    except DycokeError as error:
        console.print(str(error), style="red")
        raise typer.Exit(error.exit_code) from None


if __name__ == "__main__":
    app()
