"""The architecture: what knows what, and that every module serves somebody."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from dycoke_cli.cli.app import _COMMANDS
from dycoke_cli.compression.registry import owners
from tests.imports import PACKAGE, SRC, Graph, import_graph, named, nodes, reached

PLUGINS = [path.name for path in SRC.parent.glob("plugins/*/dycoke_*") if path.is_dir()]

# From the lowest to the highest: each package knows itself and those before it. The package itself
# has the public names, and none of its modules knows it.
LAYERS = (
    "version",
    "lazy_torch",
    "errors",
    "retries",
    "param",
    "answer",
    "unicode",
    "storage",
    "plugins",
    "resources",
    "processes",
    "video",
    "stock",
    "kernels",
    "models",
    "compression",
    "engine",
    "inspect",
    "request",
    "ask",
    "loop",
    "runs",
    "shapes",
    "evaluation",
    "bench",
    "verification",
    "server",
    "cli",
    "__main__",
)


def layer(module: str) -> str:
    return module.split(".")[1]


@pytest.fixture(scope="module")
def whole() -> Graph:
    return import_graph(SRC, PACKAGE)


@pytest.fixture(scope="module")
def inner(whole: Graph) -> Graph:
    """Without the package itself; who takes a public name from there knows its home."""
    assert {module for module, known in whole.items() if PACKAGE in known} == set()
    return {module: known for module, known in whole.items() if module != PACKAGE}


def test_every_module_serves_a_command_or_a_public_name(whole: Graph) -> None:
    commands = {f"{PACKAGE}.cli.commands.{name.split()[0]}" for name in _COMMANDS}
    assert set(whole) - reached(whole, PACKAGE, f"{PACKAGE}.__main__", *commands) == set()


def test_plugins_know_nothing_of_the_command_line() -> None:
    files = [*SRC.parent.glob("plugins/*/dycoke_*/*.py")]
    assert files
    for file in files:
        names = {*named(file, file.parent.name)}
        assert not {n for n in names if f"{n}.".startswith(f"{PACKAGE}.cli.")}, file


def test_no_module_knows_itself_over_others(inner: Graph) -> None:
    TopologicalSorter(inner).prepare()  # which raises the first circle


def test_each_package_knows_only_those_below_it(inner: Graph) -> None:
    assert {layer(module) for module in inner} == set(LAYERS)
    upwards = {
        (module, other)
        for module, known in inner.items()
        for other in known
        if LAYERS.index(layer(other)) > LAYERS.index(layer(module))
    }
    assert upwards == set()


CORE = [f"{PACKAGE}.cli.commands.{name}" for name in ("ask", "batch", "chat")]
ROOMS = ("bench", "evaluation", "server", "verification")
# What asks a server of the user's own lies with that server.
STILL_KNOWN = {
    ("cli.flags.asker_flags", "server.local.server_asker"),
}


def test_who_asks_needs_no_room_around_the_core(inner: Graph) -> None:
    """Each could be installed alone one day."""
    within = {m: {o for o in known if layer(o) not in ROOMS} for m, known in inner.items()}
    found = {
        (module.removeprefix(f"{PACKAGE}."), other.removeprefix(f"{PACKAGE}."))
        for module in reached(within, *CORE)
        for other in inner.get(module, set())
        if layer(other) in ROOMS
    }
    assert found == STILL_KNOWN


# What the server takes from the core, beside the public names: fifteen modules, and no more.
OF_THE_CORE = """
    answer.json_schema compression.registry errors loop.asker loop.plan engine.explaining
    models.prompts.chat plugins runs.file_walk runs.parts storage.cache_folder storage.output_file
    unicode video.decoder video.files video.subtitles
"""


def test_the_server_takes_public_names_and_those_of_a_few_modules(whole: Graph) -> None:
    """Names that `dycoke_cli` has are imported from there."""
    own = {module for module in whole if layer(f"{module}.") == "server"}
    taken = {name for module in own for name in imported(module) if name.startswith(f"{PACKAGE}.")}
    homes = {name.removeprefix(f"{PACKAGE}.").rpartition(".")[0] for name in taken - {*whole} - own}
    assert {home for home in homes if layer(f"{PACKAGE}.{home}.") != "server"} == {
        *OF_THE_CORE.split(),
        "",
    }


def test_the_kv_cache_can_be_read_by_itself(inner: Graph) -> None:
    """It knows slots and layers; of methods, selections and calls nothing."""
    cache = f"{PACKAGE}.engine.kv_cache"
    known = set().union(*(inner[m] for m in inner if f"{m}.".startswith(f"{cache}.")))
    assert {m for m in known if not f"{m}.".startswith(f"{cache}.")} == {f"{PACKAGE}.errors"}


# Parts of Rich that write to a stream; the others only lay text out.
WRITERS = ("rich.console.Console", "rich.get_console", "rich.live", "rich.print", "rich.progress")


def file_of(module: str) -> Path:
    path = SRC.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def imported(module: str) -> set[str]:
    return {*named(file_of(module), module)}


def test_commands_lay_out_tables_and_render_alone_writes_them(whole: Graph) -> None:
    """So the rules for streams (no escape codes in a pipe, say) are kept in one place."""
    of_rich = {m: {n for n in imported(m) if n.split(".")[0] == "rich"} for m in whole}
    assert {layer(f"{module}.") for module, names in of_rich.items() if names} == {"cli"}
    writing = {m for m, names in of_rich.items() if any(n.startswith(WRITERS) for n in names)}
    assert writing
    assert all(f"{module}.".startswith(f"{PACKAGE}.cli.render.") for module in writing)


def test_the_package_is_all_that_is_installed(whole: Graph) -> None:
    """Training, benchmarks, tests and plug-ins know it, not it them."""
    for module in whole:
        tops = {name.partition(".")[0] for name in imported(module)}
        assert not tops & {"training", "benchmarks", "tests", *PLUGINS}, module


def test_no_module_takes_the_place_of_a_public_name() -> None:
    """A package's attribute is its module as soon as that is imported, whatever it had before."""
    public = 0
    for source in (SRC / PACKAGE).rglob("__init__.py"):
        for node in ast.parse(source.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                public += 1
                modules = {path.stem for path in source.parent.iterdir()}
                assert not modules & set(ast.literal_eval(node.value)), source
    assert public


def test_nothing_imports_what_transformers_imports_where_it_needs_it(whole: Graph) -> None:
    """They take seconds: torchvision, and what torch and transformers have them for."""
    for module in whole:
        for node in nodes(file_of(module)):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = [alias.name for alias in node.names]
            tops = {name.partition(".")[0] for name in [getattr(node, "module", "") or "", *names]}
            assert not tops & {"torchvision", "scipy", "sympy", "pandas", "sklearn"}, module


# The documentation imports both: a question of a benchmark, and an answer that a judge reads.
NAMED_TWICE = {"Item": ["evaluation/dataset.py", "evaluation/scoring/judge.py"]}


def test_a_class_name_stands_for_one_thing() -> None:
    """A reader who meets it needs no import to know which is meant."""
    files: dict[str, list[str]] = {}
    for path in sorted((SRC / PACKAGE).rglob("*.py")):
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                files.setdefault(node.name, []).append(path.relative_to(SRC / PACKAGE).as_posix())
    assert len(files) > 400
    assert {name: homes for name, homes in files.items() if len(homes) > 1} == NAMED_TWICE


LISTING = ("stock/private_api.py", "runs/ray.py")
FOLDERS = ("src", "tests", "training", "plugins", "benchmarks")


def test_what_is_private_of_a_library_is_listed() -> None:
    """A new release may be without it: whoever changes the releases looks there."""
    paths = [path for folder in FOLDERS for path in (SRC.parent / folder).rglob("*.py")]
    texts = {path: path.read_text("utf-8") for path in paths}
    imports = re.compile(r"^\s*(?:from|import) (\w+)", re.MULTILINE)
    names = {name for text in texts.values() for name in imports.findall(text)}
    libraries = "|".join(names - {PACKAGE, *PLUGINS, *FOLDERS} - sys.stdlib_module_names)
    of_a_library = re.compile(
        rf"\b(?:{libraries})(?:\.\w+)*\.(_[A-Za-z]\w*)"
        rf"|from (?:{libraries})[\w.]* import (_[A-Za-z]\w*)"
    )
    docstrings = [ast.get_docstring(ast.parse(texts[SRC / PACKAGE / name])) for name in LISTING]
    listed = {*re.findall(r"\w+", "".join(map(str, docstrings)))}
    used = {
        ("".join(name), path) for path, text in texts.items() for name in of_a_library.findall(text)
    }
    assert len(used) > 20
    assert {one for one in used if one[0] not in listed} == set()


# The defaults that a model has, and keys of `dycoke.models/1` and `dycoke.probe/1`.
PARAMETERS_NAMED = {
    ("models.families", "prune_layer"),
    ("cli.commands.model_documents", "prune_layer"),
    ("cli.commands.probe", "merge_ratio"),
}


def test_a_parameter_of_a_method_is_named_in_its_file_alone(whole: Graph) -> None:
    """Plain words such as `window` name other things, too; those of two words don't."""
    parameters = {name for name in owners() if "_" in name}
    assert len(parameters) > 5
    found = set()
    for module in whole:
        package = module.removeprefix(f"{PACKAGE}.")
        if layer(f"{module}.") in ("batch", "cli", "evaluation", "models"):
            for node in nodes(file_of(module)):
                named = {getattr(node, of, None) for of in ("id", "arg", "attr", "value")}
                found |= {(package, name) for name in parameters if name in named}
    assert found == PARAMETERS_NAMED
