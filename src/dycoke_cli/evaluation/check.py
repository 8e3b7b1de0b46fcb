"""Validation of a benchmark's annotations and videos before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Literal

from dycoke_cli.answer.answer import Version
from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.errors import DycokeError, UsageError, VideoError
from dycoke_cli.evaluation.dataset import Dataset, Item, Split
from dycoke_cli.evaluation.datasets import check_split
from dycoke_cli.resources import usable_cpus
from dycoke_cli.unicode import display_name
from dycoke_cli.version import __version__
from dycoke_cli.video import Sampling
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.pictures import Rendered

SCHEMA = "dycoke.eval-check/1"
_NAMED = 3
# First and last frame of each video, or of each part of it that questions are about. Reading the
# last one finds truncated files without decoding the whole video.
_FRAMES = 2


@dataclass(frozen=True)
class Fault:
    """What is wrong with a video: an entry of `faults`."""

    video: str
    problem: Annotated[
        Literal["missing", "unreadable", "damaged"],
        Doc("missing: no file; unreadable: it can't be used; damaged: only some of it can."),
    ]
    message: Annotated[str, Doc("A human-readable sentence.")]


@dataclass(frozen=True, kw_only=True)
class DatasetCheck:
    """What `dycoke eval NAME --check` found."""

    schema: str = SCHEMA
    version: Version = __version__
    benchmark: str
    split: Split
    questions: Annotated[int, Doc(minimum=1)]
    videos: Annotated[int, Doc(minimum=1)]
    faults: Annotated[tuple[Fault, ...], Doc("In the order of the questions.")]
    warnings: Annotated[tuple[str, ...], Doc("Human-readable sentences.")]


def items_of(dataset: Dataset, split: Split, limit_videos: int | None) -> list[Item]:
    """Questions of a benchmark, at least one."""
    check_split(dataset, split)
    items = dataset.items(split, limit_videos)
    if not items:
        raise UsageError(f"{dataset.name} has no questions in its {split} split")
    return items


def check_files(dataset: Dataset, items: list[Item]) -> list[str]:
    """Warnings about missing files of a benchmark; fast, since no video is opened."""
    videos = list(dict.fromkeys(item.video for item in items))
    missing = dataset.missing(videos)
    if not missing:
        return dataset.notes()
    named = ", ".join(map(display_name, missing[:_NAMED])) + (", …" * (len(missing) > _NAMED))
    if len(missing) == len(videos):
        raise VideoError(
            f"none of the {len(videos)} videos of {dataset.name} is below --data ({named}): unpack "
            "them there"
        )
    return [
        *dataset.notes(),
        f"{len(missing)} of {len(videos)} videos of {dataset.name} aren't below --data ({named}); "
        "questions about them count as wrong, and --check lists them all",
    ]


def check(
    dataset: Dataset,
    split: Split,
    limit_videos: int | None,
    limits: Limits,
    on_progress: Callable[[int, int], None],
) -> DatasetCheck:
    """Read all annotations, and the first and last frame of every video."""
    items = items_of(dataset, split, limit_videos)
    sampling = Sampling(frames=_FRAMES)
    parts = list(dict.fromkeys((item.video, item.sampled(sampling)) for item in items))
    missing = set(dataset.missing({video for video, _ in parts}))

    def faults_of(part: tuple[str, Sampling]) -> list[Fault]:
        return _faults(dataset, *part, limits, missing=part[0] in missing)

    faults: dict[Fault, None] = {}
    with ThreadPoolExecutor(usable_cpus()) as threads:
        for done, of_part in enumerate(threads.map(faults_of, parts), 1):
            faults |= dict.fromkeys(of_part)
            on_progress(done, len(parts))
    return DatasetCheck(
        benchmark=dataset.name,
        split=split,
        questions=len(items),
        videos=len({item.video for item in items}),
        faults=tuple(faults),
        warnings=tuple(dataset.notes()),
    )


def _faults(
    dataset: Dataset,
    video: str,
    sampling: Sampling,
    limits: Limits,
    *,
    missing: bool,
) -> list[Fault]:
    name = display_name(video)
    if missing:
        return [Fault(video, "missing", f"{name} isn't below --data")]
    try:
        file = dataset.file(video)
        with Decoder(limits) as decoder:
            source = file if isinstance(file, Rendered) else str(file)
            clip = decoder.read(source, sampling, shown_as=name)
    except UsageError as error:  # the part that questions are about is beyond the video's end
        return [Fault(video, "unreadable", f"{name}: {error}")]
    except (DycokeError, OSError) as error:
        return [Fault(video, "unreadable", str(error))]
    # The warning about HDR concerns colours; the file is fine.
    damages = [one for one in clip.warnings if not one.startswith(f"{name} is an HDR video")]
    return [Fault(video, "damaged", warning) for warning in damages]
