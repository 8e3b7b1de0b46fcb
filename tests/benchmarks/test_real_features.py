"""Features of a published vision tower: clips, probes and tables, by hand and on small stand-ins.

The tower is asked only where onnx and onnxruntime are installed, which no extra brings; the figures
of the page are recomputed from the kept answers.
"""

from __future__ import annotations

import json
import lzma
import re
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from benchmarks.kept_tables import DATA, csv_files, kept_files, read_table
from benchmarks.real_features import __main__ as command
from benchmarks.real_features.clips import (
    CANDIDATES,
    CHANGED,
    FRAMES,
    GRID,
    HELD,
    PATCH,
    PIECE,
    SIDE,
    STEPS,
    Source,
    changes,
    pictures,
    region,
    shots,
    sources,
)
from benchmarks.real_features.measures import (
    Asked,
    Kept,
    answers,
    errors,
    in_order,
    kept,
    match,
    neighbours,
    times,
)
from benchmarks.real_features.table import table
from benchmarks.real_features.tower import MEAN, OUTPUTS, STD, Encoded, Tower
from dycoke_cli.compression.budget import budget
from dycoke_cli.compression.selection import Selection
from tests.pages import section

NAME = "real-features-dinov2-s"


def test_neighbours_pair_by_pair() -> None:
    torch.manual_seed(0)
    clip = torch.randn(3, 6, 5)  # two rows of three tokens
    clip[1, :2] = clip[0, :2]
    found = neighbours(clip, 3)

    def alike(one: Any, other: Any) -> float:
        return float(cosine_similarity(clip[one], clip[other], dim=0))

    beside = [(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5)]
    assert found["beside"] == pytest.approx(
        fmean(alike((f, a), (f, b)) for f in range(3) for a, b in beside), abs=1e-6
    )
    later = [alike((f, n), (f + 1, n)) for f in range(2) for n in range(6)]
    assert found["later"] == pytest.approx(fmean(later), abs=1e-6)
    assert found["static"] == pytest.approx(sum(one > 0.9 for one in later) / 12)
    assert sum(one > 0.9 for one in later) >= 2
    best = [max(alike((f, n), (f - 1, m)) for m in range(6)) for f in (1, 2) for n in range(6)]
    assert found["best"] == pytest.approx(fmean(best), abs=1e-6)
    tokens = [(f, n) for f in range(3) for n in range(6)]
    every = [alike(one, other) for one in tokens for other in tokens]
    assert found["any"] == pytest.approx(fmean(every), abs=1e-6)


def test_an_error_is_the_distance_to_the_nearest_token_that_is_read() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 4, 3)
    plain = kept(Selection(torch.tensor([1, 6])), features)
    merged = kept(Selection(torch.tensor([1, 6]), features=torch.randn(2, 3)), features)
    assert plain.frame.tolist() == merged.frame.tolist() == [0, 1]
    assert plain.dropped.tolist() == [0, 2, 3, 4, 5, 7]
    for of in (plain, merged):
        expected = [
            1 - max(float(cosine_similarity(features.flatten(0, 1)[n], one, dim=0))
                    for one in of.units)
            for n in of.dropped.tolist()
        ]  # fmt: skip
        assert errors(of, features).tolist() == pytest.approx(expected, abs=1e-6)
    assert float((plain.units[0] - merged.units[0]).abs().max()) > 0.1


def basis(*numbers: int) -> torch.Tensor:
    return torch.eye(8)[[*numbers]]


def test_what_kept_tokens_tell_by_hand() -> None:
    """Tokens are either the same or at right angles."""
    first = Kept(basis(0, 1, 2), torch.tensor([0, 3, 5]), torch.tensor([]))
    other = Kept(basis(2, 3, 4, 5), torch.tensor([0, 1, 2, 2]), torch.tensor([]))
    shown = basis(0, 1, 7, 7).view(2, 2, 8)
    assert match(shown, first).tolist() == [1, 0]
    frames = torch.stack([basis(0, 0, 1), basis(1, 2, 2), basis(0, 2, 0)])
    assert times(frames, first).tolist() == pytest.approx([1, 13 / 3, 5 / 3])
    assert in_order(torch.tensor([1.0, 3.0, 3.0])) == [1, 1, 0.5]
    assert in_order(torch.tensor([3.0, 1.0])) == [0]
    ask = [
        Asked(basis(0, 2, 7, 3).view(2, 2, 8), frames, basis(0, 1, 3, 2).view(1, 2, 2, 8), [0]),
        Asked(basis(4, 7, 0, 7).view(2, 2, 8), frames, basis(0, 1, 3, 4).view(1, 2, 2, 8), [0]),
    ]
    one, two = answers([first, other], ask)
    # The first clip has both tokens of its first region, and neither of its second.
    assert one["which"] == [1, 0]
    assert two["which"] == [1, 0]
    assert (one["changed"], two["changed"]) == ([1], [0])
    assert one["order"] == [1, 1, 0]


@pytest.fixture(scope="module")
def every() -> list[Source]:
    return sources(Path(__file__).parent)


def test_clips_of_scikit_image_alone(every: list[Source], capsys: Any) -> None:
    """Each photograph is panned over and zoomed into; what is missing is named."""
    names = [one.name for one in every]
    assert names[:2] == ["astronaut.png pan", "astronaut.png zoom"]
    assert len(names) == len({*names}) == 14
    sources(Path(__file__).parent)
    assert capsys.readouterr().err.count(": left out\n") == 7


def test_a_camera_moves_over_a_photograph(every: list[Source]) -> None:
    pan, zoom = (pictures(one) for one in every[:2])
    assert pan.shape == zoom.shape == (STEPS, SIDE, SIDE, 3)
    # Half of what is seen lies to the left of where it ends, a quarter above it.
    width, height = SIDE // 2, 3 * SIDE // 4
    begun = pan[0, SIDE // 4 :, SIDE // 2 :][:height, :width].astype(float)
    ended = pan[-1][:height, :width].astype(float)
    assert abs(begun - ended).mean() < 2
    assert abs(pan[0].astype(float) - pan[-1]).mean() > 20
    # At the end of a zoom the middle half is all that is seen.
    near, far = zoom[-1].astype(float), zoom[0].astype(float)
    middle = far[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4]
    small = near.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean((1, 3))
    assert abs(small - middle).mean() < 4


def test_what_changes_is_in_two_frames(every: list[Source]) -> None:
    paths = sorted({one.path for one in every})
    made = changes(every[0], paths)
    assert [one.step for one in made] == [*CHANGED]
    again = changes(every[0], paths)
    assert all(np.array_equal(a.pieces, b.pieces) for a, b in zip(made, again, strict=True))
    assert {one.right for of in every for one in changes(of, paths)} == {*range(CANDIDATES)}
    taken = shots(every[0], made)
    differ = [n for n in range(FRAMES) if not np.array_equal(taken.plain[n], taken.shown[n])]
    assert differ == [3, 4, 7, 8, 11, 12]
    change = made[0]
    at = np.zeros((GRID, GRID), bool)
    at.flat[region(change.row, change.column)] = True
    inside = at.repeat(PATCH, 0).repeat(PATCH, 1)
    assert np.array_equal(taken.plain[3][~inside], taken.shown[3][~inside])
    size = PIECE * PATCH
    piece = change.pieces[change.right].reshape(size * size, 3)
    assert np.array_equal(taken.shown[3][inside], piece)
    assert np.array_equal(taken.candidates[0, change.right][inside], piece)
    # Nothing that is asked about is a frame, and no candidate is of the clip's own photograph.
    assert all(step % 2 for step in (*HELD, *CHANGED))
    alone = changes(every[0], paths[: CANDIDATES + 1])
    own = changes(Source(Path("other.png"), "pan"), paths[:1] * CANDIDATES)[0].pieces[0]
    assert not any(np.array_equal(piece, own) for one in alone for piece in one.pieces)


def stand_in(frames: int, seed: int, per_frame: int = 16) -> Encoded:
    """Features that change slowly from frame to frame."""
    drawn = torch.Generator().manual_seed(seed)
    slow = torch.randn(frames, per_frame, 12, generator=drawn).cumsum(0)
    attention = torch.rand(frames, per_frame, generator=drawn)
    return Encoded(slow.half(), attention, torch.randn(frames, per_frame, 4, generator=drawn))


@pytest.fixture(scope="module")
def clips() -> dict[str, tuple[Encoded, Asked]]:
    torch.manual_seed(0)
    some = normalize(torch.randn(2, 4, 12), dim=-1)
    asked = Asked(some, some, some[None].expand(1, -1, -1, -1), [0])
    return {name: (stand_in(2 * FRAMES, seed), asked) for seed, name in enumerate("ab")}


@pytest.mark.parametrize(("row", "retain"), [one for one in command.rows() if one[1] != 0.05])
def test_each_row_keeps_its_budget(
    row: str, retain: float | None, clips: dict[str, tuple[Encoded, Asked]]
) -> None:
    found = command.measure(row, retain, clips)
    for one in found:
        # DyCoke's first stage keeps the first of four frames, and of each other one 4 tokens of 16.
        whole = {"none": 16 * FRAMES, "dycoke": 4 * (16 + 3 * 4)}
        assert sum(one["per_frame"]) == (budget(FRAMES, 16, retain) if retain else whole[row])
        assert 0 <= one["error"] <= one["worst"]
        assert (one["error"] == 0) == (row == "none")
        assert [len(one[name]) for name in ("which", "order", "changed")] == [2, 1, 1]


def test_rows_have_every_method_that_chooses_by_features() -> None:
    found = {*command.methods(0.25, 0)}
    assert found >= {
        "dycoke-plus", "random", "uniform-frames", "uniform-spatial", "evs", "vidcom2", "v-cast",
        "dart", "maxmin", "prumerge", "prumerge+", "visionzip", "holitom", "flashvid", "fastvid",
        "dpp", "uniform-spatial, merged", "dycoke-plus, not merged",
    }  # fmt: skip
    # They work inside the tower or the language model, on pixels, or by a question.
    assert not found & {"earlytom", "fastv", "downsample", "cdpruner", "dycoke"}


class StandIn:
    """In place of the tower."""

    pictures = 0

    def __init__(self, path: Path) -> None:
        self.path = path

    def encode(self, given: np.ndarray) -> Encoded:
        StandIn.pictures += len(given)
        return stand_in(len(given), int(given.sum() % 1000), GRID * GRID)


def test_an_interrupted_run_resumes(
    every: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [every[0], every[3]]
    monkeypatch.setattr(command, "sources", lambda folder: few)
    paths = sorted({one.path for one in every})
    monkeypatch.setattr(command, "changes", lambda source, _: changes(source, paths))
    monkeypatch.setattr(command, "Tower", StandIn)
    monkeypatch.setattr(command, "DRAWN", 0)
    some = [("none", None), ("random", 0.1), ("uniform-spatial", 0.1)]
    monkeypatch.setattr(command, "rows", lambda: some)
    model = tmp_path / "tower.onnx"
    model.write_bytes(b"x")
    file = command.ask(model, tmp_path, tmp_path)
    whole = file.read_bytes()
    assert StandIn.pictures == len(few) * (2 * FRAMES + len(HELD) + len(CHANGED) * CANDIDATES)
    file.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 20])
    before = StandIn.pictures
    command.ask(model, tmp_path, tmp_path)
    assert StandIn.pictures == before
    lines = [line for line in file.read_bytes().splitlines() if line.endswith(b"}")]
    assert lines == whole.splitlines()
    assert "| 10 % | `random` | 10.0 |" in table(whole)
    monkeypatch.setattr(command, "sources", lambda folder: few[:1])
    with pytest.raises(SystemExit, match="is of other clips"):
        command.ask(model, tmp_path, tmp_path)


def test_the_tower_without_its_head(tmp_path: Path) -> None:
    """A file with the names of the real one, of which tokens, attention and keys are known."""
    onnx = pytest.importorskip("onnx", reason="onnx, which reads the tower, isn't installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime, which runs it, isn't installed")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(0)
    attention = rng.random((1, 6, 3, 3)).astype(np.float32)
    key = rng.random((1, 3, 12)).astype(np.float32)
    constants = {"attention": attention, "key": key}
    nodes = [
        make.make_node("Flatten", ["input_image"], ["flat"], axis=1),
        make.make_node("Reshape", ["flat", "shape"], [OUTPUTS[0]]),
        make.make_node("Identity", ["attention"], [OUTPUTS[1]]),
        make.make_node("Identity", ["key"], [OUTPUTS[2]]),
        make.make_node("NoSuchOperator", [OUTPUTS[0]], ["head"]),
    ]
    given = [make.make_tensor_value_info("input_image", kind, [1, 3, 2, 2])]
    output = [make.make_tensor_value_info("head", kind, None)]
    known = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    known.append(onnx.numpy_helper.from_array(np.array([0, 3, 4]), "shape"))
    graph = make.make_graph(nodes, "tower", given, output, known)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 14)], ir_version=8)
    (tmp_path / "tower.onnx").write_bytes(model.SerializeToString())
    picture = rng.integers(0, 256, (1, 2, 2, 3), dtype=np.uint8)
    found = Tower(tmp_path / "tower.onnx").encode(picture)
    scaled = ((picture / 255 - np.array(MEAN)) / np.array(STD))[0].transpose(2, 0, 1)
    np.testing.assert_allclose(found.features[0], scaled.reshape(3, 4)[1:], atol=2e-3)
    np.testing.assert_allclose(found.attention[0], attention[0, :, 0, 1:].mean(0), atol=1e-6)
    np.testing.assert_allclose(found.keys[0], key[0, 1:].reshape(2, 6, 2).mean(1), atol=1e-6)


def kept_answers() -> list[dict[str, Any]]:
    with lzma.open(DATA / f"{NAME}.jsonl.xz", "rt") as lines:
        return [json.loads(line) for line in lines]


def test_the_kept_tables_are_made_of_the_answers() -> None:
    text = table(lzma.decompress((DATA / f"{NAME}.jsonl.xz").read_bytes()))
    assert csv_files(text, NAME) == kept_files(NAME)


def by_source(row: str, retain: float, name: str) -> tuple[float, float]:
    """Mean and error over sources, with nothing of the project; sources have two clips or one."""
    header, *lines = kept_answers()
    (line,) = [one for one in lines if (one.get("row"), one.get("retain")) == (row, retain)]
    sums: dict[str, list[float]] = defaultdict(list)
    for clip, one in zip(header["clips"], line["clips"], strict=True):
        sums[clip["source"]] += one[name] if isinstance(one[name], list) else [one[name]]
    count = sum(map(len, sums.values()))
    mean = sum(map(sum, sums.values())) / count
    residuals = [sum(each) - len(each) * mean for each in sums.values()]
    return mean, stdev(residuals, 0) * len(sums) ** 0.5 / count


@pytest.mark.parametrize("row", ["dycoke-plus", "evs", "random"])
def test_a_row_counted_by_hand(row: str) -> None:
    kept = read_table(f"{NAME}.2")
    ((_, _, _, _, error, _, _, which, order, changed),) = (
        one for one in kept if one[:2] == ["10 %", row]
    )
    for name, shown in (("which", which), ("order", order), ("changed", changed)):
        mean, spread = by_source(row, 0.1, name)
        assert shown == f"{100 * mean:.1f} ± {100 * spread:.1f}"
    mean, spread = by_source(row, 0.1, "error")
    assert error == f"{mean:.3f} ± {spread:.3f}"


def test_what_the_text_says_of_rules() -> None:
    """Recounted from the answers: the mean over clips, or over the questions of a probe."""
    _, *lines = kept_answers()
    by_row = {(one["row"], one["retain"]): one["clips"] for one in lines if "row" in one}

    def mean(row: str, retain: float | None, name: str) -> float:
        values: list[float] = []
        for one in by_row[row, retain]:
            values += one[name] if isinstance(one[name], list) else [one[name]]
        return fmean(values)

    merging = {"dycoke-plus", "prumerge", "prumerge+", "visionzip", "holitom", "flashvid",
               "fastvid", "uniform-spatial, merged", "tome", "framefusion", "llava-scissor", "sttm",
               "prunevid"}  # fmt: skip
    for retain in command.BUDGETS:
        errors_of = {row: mean(row, retain, "error") for row, of in by_row if of == retain}
        assert len(errors_of) == 24
        assert min(errors_of, key=errors_of.__getitem__) == "dycoke-plus"
        plain = {row: error for row, error in errors_of.items() if row not in merging}
        assert min(plain, key=plain.__getitem__) == "dycoke-plus, not merged"
        assert errors_of["forestprune"] > errors_of["random"]
        for row in ("vidcom2", "v-cast", "dart", "prumerge"):
            assert errors_of[row] > errors_of["random"]
            assert mean(row, retain, "which") < mean("random", retain, "which")
            if row != "prumerge":
                assert mean(row, retain, "changed") < mean("random", retain, "changed")
    changed = {row: mean(row, 0.05, "changed") for row, of in by_row if of == 0.05}
    best = sorted(changed, key=changed.__getitem__)[-4:]
    assert best == ["dycoke-plus", "llava-scissor", "dpp", "maxmin"]
    assert mean("dycoke", None, "error") > mean("dycoke-plus", 0.25, "error")
    lossy = {row for row, of in by_row if of == 0.05 and mean(row, 0.05, "order") < 0.7}
    assert lossy == {"uniform-frames", "evs", "framefusion"}
    behind = ("tome", "framefusion", "sttm", "forestprune")
    assert all(mean(row, 0.05, "error") > mean("random", 0.05, "error") for row in behind)


def test_the_command_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    text = section("results.md", "Features of a published vision tower")
    asked: list[Any] = []

    def run(parser: Any, kind: str, table: Any, ask: Any, given: Any) -> None:
        asked.append((kind, parser.parse_args(given[: given.index("--keep")])))

    monkeypatch.setattr(command, "run", run)
    (line,) = re.findall(
        r"^\$ python -m benchmarks.real_features (--model .*)$", text, re.MULTILINE
    )
    command.main(line.split())
    ((kind, flags),) = asked
    assert (kind, flags.model.name, flags.pictures) == (
        "real-features", "vit_s_focus.onnx", Path("pictures"),
    )  # fmt: skip
    assert line.endswith(f"--keep {NAME}")
