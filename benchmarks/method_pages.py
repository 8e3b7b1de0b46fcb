"""The tables and the picture of the answers in `docs/data`; no model is asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from benchmarks.cells import PLUS_MINUS
from benchmarks.comparison_tables import HOLM, LAYERS, ahead_section, by_kind_section, fair_section
from benchmarks.equal_cost_tables import (
    equal_cost_by_kind,
    equal_cost_by_length,
    equal_cost_caption,
    equal_cost_table,
)
from benchmarks.kept_tables import keep, listed
from benchmarks.method_choice import CHOSEN, choice_table
from benchmarks.method_figures import document_of
from benchmarks.method_plot import method_figure
from benchmarks.method_sentences import (
    between_models,
    chosen_on_test,
    chosen_setting,
    contiguous,
    developed_on,
    known,
    settings,
    uncompressed,
    without_effect,
)
from benchmarks.method_tables import (
    Document,
    ahead_table,
    by_type_table,
    frames_table,
    full_table,
    int8_table,
    layers_table,
    models_table,
    one_model_table,
    positions_table,
    rows_table,
    short_table,
    vision_table,
    whole_table,
    windows_table,
)
from benchmarks.page import ROOT
from benchmarks.plots import figure_bytes
from benchmarks.raw_answers import SUFFIX, read_answers
from benchmarks.seed_tables import seeds_table
from benchmarks.shapes import kinds_table

_PLUS_MINUS = (
    f"± is {PLUS_MINUS} videos, paired and clustered by video. It covers the questions alone: each "
    "model was trained once."
)
PICTURE = ROOT / "docs" / "methods.png"
SHIPPED = "shipped"
SEEDS, KEPT_SEED = (2, 3, 4), 2
"""Of the models `tokens-64` that the table of seeds is of, and of the one whose weights are
kept: the recipe's own, chosen before any was asked about compression."""
LEAST_CORRECT = 0.8
"""Baseline accuracy from which the model with the most tokens per frame comes first in tables; on
the validation split where that was measured (`knows`)."""
TRAINED = {
    SHIPPED: "trained partly with token and frame dropout",
    "control": "trained further from an earlier version, without dropout",
    "tokens-64": "the bundled model trained further, with larger frames and no dropout; its "
    "weights weren't kept",
    **{
        f"tokens-64-seed-{seed}": "trained by the recipe of `tokens-64` (600 steps on an H100)"
        + (", kept (`python -m training kept tokens-64`)" if seed == KEPT_SEED else "")
        for seed in SEEDS
    },
    "36-tokens": "the shipped weights with interpolated positions, not trained further",
}
"""What each model saw, for under its tables."""
AT = 0.25
"""The budget at which models are put side by side."""

FEW_TOKENS = (
    "At a tenth of 16 tokens per frame 1 or 2 are left: FlashVID and FastVID merge nothing then, "
    "VisionZip only in frames with 2, and PruMerge and PruMerge+ read the same tokens."
)
"""What the budgets do to methods that merge: under each table of them."""

Documents = Mapping[str, Document]
"""Those of one model, by their table's name."""


def read_documents(folder: Path) -> dict[str, Documents]:
    """The figures of all models, by the models' names, as they stand in tables.

    First what has the most tokens per frame, of those that know enough (`LEAST_CORRECT`); the
    shipped one before others of as many.
    """
    models: dict[str, dict[str, Document]] = {}
    for path in sorted(folder.glob(f"*/*{SUFFIX}")):
        document = document_of(read_answers(path))
        models.setdefault(path.parent.name, {})[document["table"]] = document
    if not models:
        raise SystemExit(f"{folder} has no answers; `python -m benchmarks.methods` asks")
    for name, documents in models.items():
        if len({one["model"]["weights"] for one in documents.values()}) > 1:
            raise SystemExit(f"the answers in {folder / name} are of several models")
    return dict(sorted(models.items(), key=_place))


def _place(model: tuple[str, Documents]) -> tuple[int, bool, str]:
    name, documents = model
    whole = documents.get("whole")
    decides = documents.get("knows", whole)
    knows = decides is not None and decides["rows"][0]["accuracy"] >= LEAST_CORRECT
    return -whole["per_frame"] if whole and knows else 0, name != SHIPPED, name


def under(documents: Collection[Document]) -> str:
    """What all tables say of where their figures come from: a line for each that differs."""
    measured: dict[str, tuple[dict[str, None], set[str]]] = {}
    several = len({document["frames"] for document in documents}) > 1
    for document in documents:
        frames = "" if several else f", {document['frames']} frames"
        told = (
            f"{document['videos']} videos, {document['rows'][0]['questions']} questions each row, "
            f"{document['split']} split of `shapes`{frames}, {document['model']['dtype']}. "
            f"{document['machine']}, commit"
        )
        names, commits = measured.setdefault(told, ({}, set()))
        names[document["name"]] = None
        commits |= {*document["commits"]}
    about = {
        one["name"]: f"`{one['name']}`: {one['per_frame']} tokens per frame, {LAYERS} layers"
        for one in documents
    }
    seen = [
        f"{told}, {TRAINED[name]}." if name in TRAINED else f"{told}."
        for name, told in about.items()
    ]
    lines = [
        ("" if len(measured) == 1 else f"{', '.join(names)}: ")
        + f"{told} {', '.join(sorted(commits)) or 'unknown'}."
        for told, (names, commits) in measured.items()
    ]
    return " ".join([_PLUS_MINUS, *lines, *seen])


def of_budgets(documents: Collection[Document]) -> str:
    """What tables of budgets say beside that."""
    few = any(document["per_frame"] == 16 for document in documents)
    return f"{FEW_TOKENS} {under(documents)}" if few else under(documents)


def texts_of(models: Mapping[str, Documents]) -> dict[str, str]:
    """Each measured text by the name of its kept tables; what wasn't measured is missing."""
    texts = {}

    def of_run(run: str) -> dict[str, Document]:
        return {name: documents[run] for name, documents in models.items() if run in documents}

    if measured := of_run("budgets"):
        first = next(iter(measured.values()))
        texts["methods"] = f"{short_table(first)} {of_budgets([first])}"
        texts["methods-full"] = "\n\n".join(
            _folded(f"All columns: {name}", f"{full_table(document)}\n\n{of_budgets([document])}")
            for name, document in measured.items()
        )
        texts["methods-ahead"] = (
            f"{ahead_table(measured)}\n\n{HOLM} {uncompressed(measured.values())} "
            f"{of_budgets(measured.values())}"
        )
        if len(measured) > 1:
            texts["methods-others"] = "\n\n".join(
                f"`{name}`:\n\n{short_table(document)} {of_budgets([document])}\n\n"
                f"{ahead_section(document, 'the rows of this table were compared')}"
                for name, document in [*measured.items()][1:]
            )
            table = models_table(measured, AT)
            texts["methods-models"] = f"{table}\n\n{of_budgets(measured.values())}"
    if len(seeds := of_run("seeds")) > 1:
        asked = " ".join([under(seeds.values()), *_known(of_run("knows"), seeds)])
        texts["methods-seeds"] = f"{seeds_table(seeds)}\n\n{asked}"
    if kinds := of_run("kinds"):
        document = next(iter(kinds.values()))
        texts["methods-kinds"] = f"{kinds_table(document)}\n\n{under([document])}"
    for run, table_of in _TABLES.items():
        if measured := of_run(run):
            heading = _HEADINGS.get(run, "")
            texts[f"methods-{run}"] = f"{heading}{table_of(measured)}\n\n{under(measured.values())}"
    if whole := of_run("whole"):
        both = (one for one in whole if "validation" in models[one])
        if (name := next(both, None)) is not None:
            told = developed_on(models[name]["validation"], whole[name])
            texts["methods-validation"] = f"{told}\n\n{texts['methods-validation']}"
        # With more tokens per frame methods can do what they are meant to: then those alone.
        tokens = next(iter(whole.values()))["per_frame"]
        shown = {name: one for name, one in whole.items() if one["per_frame"] == tokens}
        notes = [settings(whole), *map(contiguous, [*of_run("plus").values()][:1])]
        notes += [*_settings_of(of_run, shown), between_models(whole)]
        last = " ".join([under(shown.values()), *_known(of_run("knows"), shown)])
        texts["methods-one"] = (
            f"{one_model_table(shown)}\n\n{' '.join(filter(None, notes))}\n\n{last}"
        )
        told = [*_known(of_run("knows"), whole), settings(whole), between_models(whole)]
        texts["methods-whole"] = " ".join(filter(None, [texts["methods-whole"], *told]))
        if SHIPPED in whole:
            document = whole[SHIPPED]
            texts["methods-mini"] = f"{by_type_table(document)}\n\n{under([document])}"
    full, int8 = of_run("merged"), of_run("merged-int8")
    if merged := {name: (full[name], int8[name]) for name in full if name in int8}:
        under_it = under([one for one, _ in merged.values()])
        texts["methods-int8"] = f"{int8_table(merged)}\n\n{under_it}"
    texts |= _comparisons(of_run("fair"), of_run("choice"), of_run("whole"))
    for prefix in ("frames-", "plus-frames-"):
        by_frames = {
            name: {
                document["frames"]: document
                for run, document in documents.items()
                if run.startswith(prefix)
            }
            for name, documents in models.items()
        }
        if any(by_frames.values()):
            every = [document for one in by_frames.values() for document in one.values()]
            texts[f"methods-{prefix}"[:-1]] = f"{frames_table(by_frames)}\n\n{under(every)}"
    return texts


def _known(knows: Mapping[str, Document], shown: Collection[str]) -> list[str]:
    """What the models shown answer on validation videos."""
    return [known(one) for name, one in knows.items() if name in shown]


def _settings_of(
    of_run: Callable[[str], Mapping[str, Document]], shown: Mapping[str, Document]
) -> list[str]:
    """How the settings of the rows shown were chosen, where that and the defaults are known."""
    choice, near = of_run("choice"), of_run("near")
    return [
        chosen_setting(document["rows"], choice[name], near[name])
        for name, document in shown.items()
        if name in choice and name in near
    ]


def _comparisons(
    fair: Mapping[str, Document], choice: Mapping[str, Document], whole: Mapping[str, Document]
) -> dict[str, str]:
    """The sections about methods on equal terms, each of the first model that was measured."""
    found = {}
    if fair:
        document = next(iter(fair.values()))
        found["methods-fair"] = f"{fair_section(document)} {HOLM}\n\n{under([document])}"
        table = f"{equal_cost_caption(document)}\n\n{equal_cost_table(document)}"
        details = f"{equal_cost_by_length(document)}\n\n{equal_cost_by_kind(document)}"
        found["methods-equal-cost-kinds"] = f"{table}\n\n{details}\n\n{under([document])}"
        found["methods-fair-ahead"] = f"{ahead_section(document)}\n\n{under([document])}"
    if choice:
        document = next(iter(choice.values()))
        table = f"{choice_table(document)}\n\n{under([document])}"
        folded = _folded("Candidates on the validation split", table)
        told = [CHOSEN, without_effect(document), *map(chosen_on_test, [*fair.values()][:1])]
        found["methods-choice"] = f"{' '.join(filter(None, told))}\n\n{folded}"
    if parted := [one for one in whole.values() if "hard" in one["more"]["none"]]:
        found["methods-by-kind"] = f"{by_kind_section(parted[0])}\n\n{under(parted[:1])}"
    return found


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


_HEADINGS = {
    "near": "### The nearest methods on all videos\n\nMethods with merging that 60 videos can't "
    "distinguish from `dycoke-plus` at 25 % (a difference below two standard errors) and that "
    "aren't in the table of most videos: on all videos.\n\n",
    "positions": "### Original and contiguous positions\n\nAt 25 % kept. The authors' code for "
    "Qwen-VL keeps original positions, that for LLaVA-OneVision makes them contiguous "
    "([positions](methods.md#positions)). These models were trained on original ones only.\n\n",
}
"""What stands above a table whose place is empty until a model was asked."""

_TABLES = {
    "positions": positions_table,
    "layers": layers_table,
    "windows": windows_table,
    "plus": rows_table,
    "vision": vision_table,
    "whole": whole_table,
    "near": whole_table,
    "validation": whole_table,
    "larger": whole_table,
}


def write_tables(folder: Path, write: bool) -> None:
    """Print all tables; with `write`, keep those that docs/data lists, and draw the picture."""
    models = read_documents(folder)
    texts = texts_of(models)
    for name, text in texts.items():
        print(f"\n{name}\n\n{text}")
    if not write:
        return
    for name in methods_listed():
        if name not in texts:
            raise SystemExit(f"docs/data/README.md lists {name}, and {folder} has no answers of it")
        keep(texts[name], name)
    budgets = (one["budgets"]["rows"] for one in models.values() if "budgets" in one)
    if (rows := next(budgets, None)) is not None:
        PICTURE.write_bytes(figure_bytes(method_figure(rows), PICTURE))


def methods_listed() -> list[str]:
    """The tables of methods that docs/data lists."""
    return [name for name in listed() if name.startswith("methods")]
