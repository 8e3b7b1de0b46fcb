"""Tags of containers, and the process that reads them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import pytest

from dycoke_cli.video import Sampling
from dycoke_cli.video.subtitles import read_subtitles
from tests.video.clips import CodedClip, Recipe, numbers_in
from tests.video.conftest import MakeClip
from tests.video.inside import probe, read
from tests.video.test_damage import damaged

TITLE = b"a title of 24 characters"
STORED = {
    "windows": "Название фильма и ещё тт".encode("cp1251"),
    "japanese": "映画の題名は十二文字です".encode("shift-jis"),
    "latin": "Ein Titel mit Ä, Ö und ß".encode("latin-1"),
    "cut in a letter": "a title that ends so: €€".encode()[:24],
}


def tagged(clip: CodedClip, path: Path, title: bytes) -> Path:
    """Copy a clip's packets into a file with a title, of the file and of its stream."""
    with av.open(str(clip.path)) as source, av.open(str(path), "w") as container:
        container.metadata["title"] = TITLE.decode()
        stream = container.add_stream_from_template(source.streams.video[0])
        stream.metadata["handler_name"] = stream.metadata["title"] = TITLE.decode()
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    content = path.read_bytes()
    assert TITLE in content
    path.write_bytes(content.replace(TITLE, title))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("encoding", STORED)
def test_video(tmp_path: Path, make_clip: MakeClip, encoding: str, suffix: str) -> None:
    assert len(STORED[encoding]) == len(TITLE)
    clip = make_clip(Recipe())
    plain = tagged(clip, tmp_path / f"plain{suffix}", TITLE)
    other = tagged(clip, tmp_path / f"other{suffix}", STORED[encoding])
    assert replace(probe(other), path="") == replace(probe(plain), path="")
    sampled = read(other, Sampling(frames=5))
    assert numbers_in(sampled.frames) == numbers_in(read(plain, Sampling(frames=5)).frames)


def test_subtitles(tmp_path: Path) -> None:
    path = tmp_path / "lines.ass"
    path.write_bytes(
        b"[Script Info]\nTitle: " + STORED["windows"] + b"\n\n[Events]\n"
        b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        b"Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,hello\n"
    )
    assert [line.text for line in read_subtitles(path).lines] == ["hello"]


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_ffmpeg_is_silent_about_damage(make_clip: MakeClip, tmp_path: Path) -> None:
    path = damaged(make_clip(Recipe()), tmp_path / "bad.mp4", 3, 4, 5)
    # Even where another part of the program has made it talk.
    script = (
        "import sys, av.logging; av.logging.restore_default_callback();"
        "av.logging.set_level(av.logging.DEBUG);"
        "from dycoke_cli.video import read; print(len(read(sys.argv[1]).warnings))"
    )
    done = run(script, str(path))
    assert done.stderr == ""
    assert done.stdout == "1\n"


def test_torch_isnt_imported() -> None:
    done = run("import sys, dycoke_cli.video; print('torch' in sys.modules)")
    assert done.stdout == "False\n"
