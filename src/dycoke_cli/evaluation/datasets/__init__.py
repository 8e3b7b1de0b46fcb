"""Registry of benchmarks by command-line name; one module each."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from dycoke_cli import plugins
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import ROW_FILES, About, Dataset, Rule, Split

_PUBLISHED = "dycoke_cli.evaluation.datasets.published"

DATASETS: dict[str, tuple[str, str] | type] = {
    "shapes": ("dycoke_cli.evaluation.datasets.shapes", "Shapes"),
    "shapes-long": ("dycoke_cli.evaluation.datasets.shapes", "ShapesLong"),
    "mvbench": (_PUBLISHED, "MVBench"),
    "videomme": (_PUBLISHED, "VideoMME"),
    "videomme_w_subtitle": (_PUBLISHED, "VideoMMEWithSubtitles"),
    "nextqa_mc_test": (_PUBLISHED, "NextQA"),
    "perceptiontest_val_mc": (_PUBLISHED, "PerceptionTest"),
    "activitynetqa": (_PUBLISHED, "ActivityNetQA"),
    "video_dc499": (_PUBLISHED, "VideoDC"),
}
"""Module and class (imported on demand), or the class of a plug-in. Names are lmms-eval's."""

OWN_QUESTIONS = ("dycoke_cli.evaluation.datasets.questions", "Questions")
"""Benchmark for a file with the user's own questions."""


def open_dataset(name: str, folder: Path | None = None) -> Dataset:
    """Open a benchmark, or one of its tasks, such as `mvbench_action_count`.

    Args:
        folder: folder of its files, unless it is bundled.
    """
    if _is_file(name):
        own: Dataset = _class(OWN_QUESTIONS)(Path(name), folder)
        return own
    benchmark, task = _named(name)
    dataset_class = class_of(benchmark)
    dataset: Dataset
    if not dataset_class.about.needs:
        if folder is not None:
            raise UsageError(f"{name} is bundled: it takes no --data")
        dataset = dataset_class()
    elif folder is None:
        about = dataset_class.about
        raise UsageError(
            f"{name} needs the folder of its files: --data DIR, with {about.needs} ({about.source})"
        )
    else:
        dataset = dataset_class(folder, task)
    return dataset


def class_of(name: str) -> Any:
    """Class of a benchmark in `DATASETS`."""
    return _class(DATASETS[name])


def _class(where: tuple[str, str] | type) -> Any:
    return where if isinstance(where, type) else getattr(import_module(where[0]), where[1])


def tasks_of(name: str) -> tuple[str, ...]:
    """Tasks of a benchmark in `DATASETS`."""
    tasks: tuple[str, ...] = getattr(class_of(name), "tasks", ())
    return tasks


def rule_of(name: str) -> Rule | None:
    """Scoring rule of a benchmark; None where its plug-in isn't installed: stored scores stay."""
    try:
        dataset_class = _class(OWN_QUESTIONS) if _is_file(name) else class_of(_named(name)[0])
    except UsageError:
        return None
    own: Rule = dataset_class.score
    return own


def check_split(dataset: Dataset, split: Split) -> None:
    """Check that a benchmark has a split."""
    splits = dataset.about.splits
    if split not in splits:
        has = " and ".join(splits)
        raise UsageError(f"{dataset.name} has no {split} split with answers: it has {has}")


def _named(name: str) -> tuple[str, str | None]:
    """Split a name into those of benchmark and task."""
    if name in DATASETS:
        return name, None
    for benchmark in DATASETS:
        task = name.removeprefix(f"{benchmark}_")
        if task != name and task in tasks_of(benchmark):
            return benchmark, task
    tasks = [f"{benchmark}_{task}" for benchmark in DATASETS for task in tasks_of(benchmark)]
    hint = plugins.hint(name.lower(), [*DATASETS, *tasks], "`dycoke eval --list` lists them")
    raise UsageError(f"there is no benchmark {name!r} and no file of questions; {hint}")


def _is_file(name: str) -> bool:
    """Whether a name is that of a file with questions."""
    return name.endswith(ROW_FILES)


def plugin_of(name: str) -> str | None:
    """Code version of the plug-in that defines a benchmark, see `plugins.version`."""
    try:
        return plugins.version("benchmark", _named(name)[0])
    except UsageError:
        return None


def _check(name: str, dataset_class: Any) -> None:
    """Check that a plug-in's object can be a benchmark."""
    if not isinstance(dataset_class, type):
        raise plugins.Unfit("it isn't a class")
    needed = {name: stub for name, stub in vars(Dataset).items() if not name.startswith("_")}
    # A subclass of the protocol inherits its stubs, which return None: those count as missing.
    own = {name: inspect.getattr_static(dataset_class, name, stub) for name, stub in needed.items()}
    missing = [name for name, stub in needed.items() if own[name] is stub]
    missing += sorted(getattr(dataset_class, "__abstractmethods__", frozenset()) - {*missing})
    if missing:
        raise plugins.Unfit(f"its class has no {', '.join(missing)}")
    if not isinstance(own["about"], About):
        raise plugins.Unfit("the `about` of its class isn't an About")
    called = getattr(dataset_class, "group", None) or getattr(dataset_class, "name", None)
    if isinstance(called, str) and called != name:
        raise plugins.Unfit(f"its class has another name, {called!r}")
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise plugins.Unfit("a name has lower-case letters, digits, underscores and hyphens")
    prefixes = [other for other in DATASETS if name.startswith(f"{other}_")]
    if any(name.removeprefix(f"{other}_") in tasks_of(other) for other in prefixes):
        raise plugins.Unfit("that is a task of another benchmark")


plugins.extend("benchmark", DATASETS, _check)
