"""The commands behind `python -m dycoke_cli.models.mini`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from dycoke_cli.errors import DycokeError
from dycoke_cli.models.mini.recipe import Recipe, Stage

if TYPE_CHECKING:
    from dycoke_cli.models.mini.evaluate import Answered
    from dycoke_cli.models.mini.train import Progress

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Make the bundled model and the sample clips."
)
console = Console(stderr=True)
RUN = Path("runs/mini")
Folder = Annotated[Path, typer.Option("--run", help="Where the run is kept.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, ...")]


@app.callback()
def main() -> None:
    """Make the bundled model and the sample clips."""


@app.command()
def train(
    run: Folder = RUN,
    steps: Annotated[int, typer.Option(min=1, help="Steps in all.")] = Recipe.steps,
    muon_lr: Annotated[float, typer.Option(help="Of the matrices.")] = Recipe.muon_lr,
    adam_lr: Annotated[float, typer.Option(help="Of the rest.")] = Recipe.adam_lr,
    seed: Annotated[int, typer.Option(help="Of weights and data.")] = Recipe.seed,
    device: Device = "cpu",
) -> None:
    """Train, or go on where the last run stopped."""
    from dycoke_cli.models.mini.train import LOG, Trainer, log_line

    recipe = replace(Recipe(), steps=steps, muon_lr=muon_lr, adam_lr=adam_lr, seed=seed)
    trainer = Trainer(recipe, run, device)
    run.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        (run / LOG).open("a") as log,
        Bar(*columns, TimeRemainingColumn(), console=console) as bar,
    ):
        task = bar.add_task("start", total=steps, completed=trainer.progress.step)

        def each(progress: Progress, stage: Stage) -> None:
            text = f"{stage.name}: {progress.mean():.0%} right, loss {progress.loss:.2f}"
            bar.update(task, completed=progress.step, description=text)
            if progress.step % 10 == 0:
                log.write(log_line(progress, stage) + "\n")
                log.flush()

        trainer.run(each)


@app.command()
def export(run: Folder = RUN, out: Annotated[Path | None, typer.Option()] = None) -> None:
    """Write a run's weights as the checkpoint folder that ships in the package."""
    from dycoke_cli.models.mini.export import CHECKPOINT, export_run

    with errors_in_a_sentence():
        size = export_run(run, out or CHECKPOINT)
    console.print(f"{out or CHECKPOINT}: {size / 1e6:.1f} MB")


@app.command()
def samples(
    folder: Annotated[Path, typer.Option(help="Gets the clips.")] = Path("sample_videos"),
) -> None:
    """Render the sample clips, their table and questions, and the clip of `dycoke demo`."""
    from dycoke_cli.models.mini.samples import write_samples

    for path in write_samples(folder):
        console.print(f"{path}: {path.stat().st_size / 1000:.1f} kB")


@app.command()
def evaluate(
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint folder.")] = None,
    scripts: Annotated[int, typer.Option(min=1, help="How many clips.")] = 120,
    frames: Annotated[list[int], typer.Option(help="Frames a clip; may be repeated.")] = [32],  # noqa: B006
    split: Annotated[str, typer.Option(help="train, validation, test or samples.")] = "test",
    seed: Annotated[int, typer.Option(help="Of scripts and questions.")] = 0,
    wrong: Annotated[bool, typer.Option(help="Show the wrong answers too.")] = False,
    device: Device = "cpu",
) -> None:
    """Share of answers that are right to the letter, by kind of question.

    Answers are generated greedily, one question at a time, on scripts that were not trained on.
    """
    from dycoke_cli.models.mini import evaluate as evaluation
    from dycoke_cli.models.mini.export import CHECKPOINT

    model = evaluation.Model(checkpoint or CHECKPOINT, device)
    with Bar(console=console) as bar:
        task = bar.add_task("asking", total=scripts)
        answered = evaluation.evaluate(
            model, scripts, tuple(frames), split, seed, lambda: bar.advance(task)
        )
    console.print(accuracy_table(answered))
    show_wrong(answered if wrong else [])


def accuracy_table(answered: list[Answered]) -> Table:
    """Right answers by kind, and their mean."""
    from dycoke_cli.models.mini.evaluate import by_kind, mean_accuracy

    table = Table("kind", "right", "of", "share")
    for kind, (right, asked) in by_kind(answered).items():
        table.add_row(kind, str(right), str(asked), f"{right / asked:.1%}")
    table.add_row("mean over kinds", "", str(len(answered)), f"{mean_accuracy(answered):.1%}")
    return table


@app.command()
def clips(
    folder: Annotated[Path, typer.Option(help="Holds the clips.")] = Path("sample_videos"),
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint folder.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames a clip.")] = 32,
    wrong: Annotated[bool, typer.Option(help="Show the wrong answers too.")] = False,
    device: Device = "cpu",
) -> None:
    """Right answers about the sample clips: what each object does, and everything asked."""
    from dycoke_cli.models.mini import evaluate as evaluation
    from dycoke_cli.models.mini.export import CHECKPOINT

    model = evaluation.Model(checkpoint or CHECKPOINT, device)
    table = Table("clip", "what the objects do", "everything")
    with errors_in_a_sentence():
        found = evaluation.evaluate_clips(model, folder, frames)
    for name, answered in found.items():
        deeds = [a for a in answered if a.question.kind == "action"]
        table.add_row(name, _share(deeds), _share(answered))
    console.print(table)
    show_wrong([a for answered in found.values() for a in answered] if wrong else [])


def _share(answered: list[Answered]) -> str:
    return f"{sum(a.right for a in answered)} of {len(answered)}"


def show_wrong(answered: list[Answered]) -> None:
    """Prints the wrong answers, one a line."""
    for answer in answered:
        if not answer.right:
            console.print(f"{answer.question.text}  {answer.question.answer}  SAID {answer.said}")


@contextmanager
def errors_in_a_sentence() -> Iterator[None]:
    """Ends the program with the error's own sentence and exit code."""
    try:
        yield
    except DycokeError as error:
        console.print(str(error), style="red")
        raise typer.Exit(error.exit_code) from None
