"""Which files an agent may name: those below the folders, whatever the path looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.server.video_tools import file_below


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders, the second by a link, and a file outside."""
    first, second = tmp_path / "first", tmp_path / "real"
    (first / "sub").mkdir(parents=True)
    second.mkdir()
    (tmp_path / "linked").symlink_to(second)
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (first / "a.mp4").write_bytes(b"a")
    (first / "sub" / "b.mp4").write_bytes(b"b")
    (second / "c.mp4").write_bytes(b"c")
    return first, tmp_path / "linked"


def test_files_below_the_folders(roots: tuple[Path, Path]) -> None:
    first, linked = roots
    for name, content in (
        (str(first / "a.mp4"), b"a"),
        ("sub/b.mp4", b"b"),
        ("sub/../a.mp4", b"a"),
        ("c.mp4", b"c"),
        (str(linked / "c.mp4"), b"c"),
        (str(linked.parent / "real" / "c.mp4"), b"c"),
    ):
        assert file_below(roots, name).read_bytes() == content


def test_no_file_elsewhere(roots: tuple[Path, Path]) -> None:
    """Neither one that is there nor one that isn't: both get the same sentence."""
    first, _ = roots
    outside = first.parent / "secret.mp4"
    (first / "link.mp4").symlink_to(outside)
    (first / "folder").symlink_to(first.parent)
    (first / "loop").symlink_to(first / "loop")
    names = [
        str(outside), str(outside.with_name("none.mp4")), "../secret.mp4", "link.mp4",
        "folder/secret.mp4", "none.mp4", "sub", "", "loop", "a\0b", "a.mp4/x", "/etc/passwd",
        "x" * 5000,
    ]  # fmt: skip
    for name in names:
        with pytest.raises(UsageError, match=r"there is no file .* below .*first, .*linked"):
            file_below(roots, name)


def test_an_error_lists_videos_that_are_there(roots: tuple[Path, Path]) -> None:
    first, _ = roots
    (first / "notes.txt").write_text("no video")
    (first / "link.mp4").symlink_to(first.parent / "secret.mp4")
    with pytest.raises(UsageError, match=r": there are a\.mp4, c\.mp4, sub/b\.mp4$"):
        file_below(roots, "list")
    for number in range(10):
        (first / f"clip{number}\n.mp4").write_bytes(b"clip")
    with pytest.raises(UsageError, match=r": there are .*, and others$") as refused:
        file_below(roots, "list")
    assert str(refused.value).count(".mp4") == 10
    assert "\n" not in str(refused.value)
    for file in [*first.rglob("*.mp4"), *roots[1].glob("*.mp4")]:
        file.unlink()
    with pytest.raises(UsageError, match=r": there are no videos$"):
        file_below(roots, "list")
