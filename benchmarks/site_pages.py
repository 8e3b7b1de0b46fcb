"""The Markdown files of the documentation site, from those of the repository.

`make site` runs `python -m benchmarks.site_pages FOLDER`, then Zensical (`zensical.toml`) on that
folder. A page keeps its text. Its links lead to the paths that the pages have in the site, and show
a page's title in place of its file name. A link to any other file of the repository leads to the
address `Repository` in `[project.urls]` of pyproject.toml; without one it becomes plain text.
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from os.path import relpath
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Pages that aren't in docs: path in the repository to path in the site."""
_CODE_OR_LINK = re.compile(
    r"(?P<code>^ *```.*?^ *```|(?<!`)`(?:[^`\n]|\n(?!\n))+`(?!\]\())"
    r"|\[(?P<shown>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^)\s]+)\)",
    re.MULTILINE | re.DOTALL,
)

_FILE_NAME = re.compile(r"(\w+/)*[\w-]+\.md")


def pages() -> dict[str, str]:
    """Path of each page in the repository, and its path in the site."""
    inside = (path.relative_to(ROOT).as_posix() for path in sorted(DOCS.rglob("*.md")))
    moved = {path: path.removeprefix("docs/").replace("README", "index") for path in inside}
    return {**OUTSIDE, **moved}


def page_text(path: str, there: Callable[[str], str | None], address: str | None) -> str:
    """Text of a page for the site.

    Args:
        there: path in the site of a file of the repository, None of one that isn't in the site.
        address: of the repository, None if it has none.
    """
    here = there(path)

    def link(found: re.Match[str]) -> str:
        if found["code"] or re.match(r"\w+:|#", found["target"]):
            return found[0]
        name, hash_sign, anchor = found["target"].partition("#")
        file = relpath(ROOT / PurePosixPath(path).parent / name, ROOT)
        if target := there(file):
            leads = relpath(target, PurePosixPath(str(here)).parent)
            if _FILE_NAME.fullmatch(found["shown"]):
                return f"[{_title(file)}]({leads}{hash_sign}{anchor})"
        elif address:
            leads = f"{address}/blob/main/{file}"
        else:
            return found["shown"]
        return f"[{found['shown']}]({leads}{hash_sign}{anchor})"

    return _CODE_OR_LINK.sub(link, (ROOT / path).read_text(encoding="utf-8"))


def _title(path: str) -> str:
    first, _, _ = (ROOT / path).read_text(encoding="utf-8").partition("\n")
    return first.removeprefix("# ")


def write(folder: Path) -> None:
    """Writes the pages and the pictures of docs into an empty folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("*.md", "*.xz"))
    places = pages()

    def there(file: str) -> str | None:
        is_picture = file.startswith("docs/") and (ROOT / file).suffix in {".png", ".svg"}
        return file.removeprefix("docs/") if is_picture else places.get(file)

    for path, place in places.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(page_text(path, there, address), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
