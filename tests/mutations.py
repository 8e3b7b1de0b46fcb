"""Breaks the engine on purpose, one line at a time, and checks that a test goes red each time.

Run on demand: `python tests/mutations.py` (or `make mutants`). It edits a copy of `src`, never the
checkout. The table says what was broken; the output says which test caught it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("tests/compression", "tests/engine")
WEIGHTS = Path("models", "mini", "checkpoint")  # large and never broken: linked, not copied


@dataclass(frozen=True)
class Mutation:
    """One line broken: in `file`, `old` becomes `new`."""

    what: str
    file: str
    old: str
    new: str


MUTATIONS = (
    Mutation(
        "scores come from the wrong layer",
        "engine/kv_store.py",
        "layer_idx == choice.layer - 1",
        "layer_idx == choice.layer - 2 or layer_idx == choice.layer == 1",
    ),
    Mutation(
        "pruning starts one layer late",
        "engine/kv_store.py",
        "if layer_idx >= self._first_pruned and",
        "if layer_idx > self._first_pruned and",
    ),
    Mutation(
        "rows swap into the wrong slots",
        "engine/kv_store.py",
        "self._slot_of[entering], self._slot_of[leaving] = second, first",
        "self._slot_of[entering], self._slot_of[leaving] = first, second",
    ),
    Mutation(
        "the active part starts one row late",
        "engine/kv_store.py",
        "self._start = len(self.visual) - len(active)",
        "self._start = len(self.visual) - len(active) + 1",
    ),
    Mutation(
        "moves of the step before are made again",
        "engine/kv_store.py",
        "        self._swap = None\n        self._discard_now = False\n\n    def scores_at",
        "        self._discard_now = False\n\n    def scores_at",
    ),
    Mutation(
        "values stay behind when keys swap",
        "engine/kv_layer.py",
        "for rows in (self.keys, self.values):",
        "for rows in (self.keys,):",
    ),
    Mutation(
        "growing forgets the last row",
        "engine/kv_layer.py",
        "grown[:, : self.rows] = rows[:, : self.rows]",
        "grown[:, : self.rows - 1] = rows[:, : self.rows - 1]",
    ),
    Mutation(
        "no recall at all",
        "compression/kv_pruning.py",
        "self._one_shot = not recall",
        "self._one_shot = True",
    ),
    Mutation(
        "attention is compared with the step before",
        "compression/kv_pruning.py",
        "        if self._active is None or self._moved(attention):\n"
        "            self._reference = attention\n",
        "        moved = self._active is None or self._moved(attention)\n"
        "        self._reference = attention\n"
        "        if moved:\n",
    ),
    Mutation(
        "the least attended tokens stay",
        "compression/ranking.py",
        "argsort(descending=True, stable=True)",
        "argsort(descending=False, stable=True)",
    ),
    Mutation(
        "one token too many is active",
        "compression/ranking.py",
        "return int(tokens * (1 - ratio))",
        "return int(tokens * (1 - ratio)) + 1",
    ),
    Mutation(
        "frame 2 is compared with frame 1",
        "compression/ttm.py",
        "yield frame, frame - offset",
        "yield frame, frame - 1",
    ),
    Mutation(
        "the most similar tokens stay",
        "compression/ttm.py",
        "similarity.argsort(stable=True)[:kept]",
        "similarity.argsort(stable=True)[-kept:]",
    ),
    Mutation(
        "ties are left to rounding",
        "compression/ttm.py",
        "else torch.float64",
        "else torch.float32",
    ),
    Mutation(
        "generated tokens don't move back over the gaps",
        "engine/attach.py",
        "positions - store.position_shift",
        "positions",
    ),
    Mutation(
        "kept tokens keep their positions though renumbered",
        "engine/prefill.py",
        "if method.renumbers():",
        "if False:",
    ),
    Mutation(
        "scores take in a text token",
        "engine/attention.py",
        "weights[store.visual.start : store.visual.stop]",
        "weights[store.visual.start + 1 : store.visual.stop + 1]",
    ),
    Mutation(
        "heads share the scores of the wrong group",
        "engine/attention.py",
        "grouped = query.view(heads, -1, width)",
        "grouped = query.view(-1, heads, width).transpose(0, 1)",
    ),
    Mutation(
        "attention is not switched back",
        "engine/attach.py",
        "            if count == 1:\n",
        "            if count == 0:\n",
    ),
    Mutation(
        "hooks run in other threads too",
        "engine/thread_hook.py",
        "if kwargs is None or threading.get_ident() != thread:",
        "if kwargs is None:",
    ),
    Mutation(
        "hooks need keyword arguments in other threads",
        "engine/thread_hook.py",
        "kwargs: dict[str, Any] | None = None\n",
        "kwargs: dict[str, Any]\n",
    ),
    Mutation(
        "discard keeps the rows",
        "engine/kv_layer.py",
        "self.keys = self.keys[:, rows:].clone()",
        "self.keys = self.keys[:, rows:]",
    ),
    Mutation(
        "several rows get the choice of the first",
        "engine/supported.py",
        'if kwargs["inputs_embeds"].shape[0] != 1:',
        "if False:",
    ),
    Mutation(
        "FastV ranks by the first query of the prompt",
        "engine/attention.py",
        "query[:, :, -1:]",
        "query[:, :, :1]",
    ),
    Mutation(
        "FastV drops its tokens one layer late",
        "engine/narrowing.py",
        "if layer == self.layer:",
        "if layer == self.layer + 1:",
    ),
    Mutation(
        "FastV keeps the tokens behind the ones it chose",
        "engine/narrowing.py",
        "self._visual.start + kept,",
        "(self._visual.start + kept + 1).clamp(max=self._visual.stop - 1),",
    ),
    Mutation(
        "FastV closes the gaps in the positions",
        "engine/narrowing.py",
        "self._gather(turns, -2) for turns",
        "turns[..., : len(self._rows), :] for turns",
    ),
    Mutation(
        "FastV leaves its hooks on the layers",
        "engine/attach.py",
        "self._hooks.append(before_forward(self._decoder.layers[number], narrow))",
        "before_forward(self._decoder.layers[number], narrow)",
    ),
    Mutation(
        "FLOPs forget that later layers read less of the prompt",
        "engine/flops.py",
        "[text + visual_last] * behind",
        "[text + visual_kept] * behind",
    ),
    Mutation(
        "a catalog's prune layer counts for FastV",
        "compression/fastv.py",
        '    name: ClassVar[str] = "fastv"\n',
        '    name: ClassVar[str] = "fastv"\n    tuned = ("prune_layer",)\n',
    ),
    Mutation(
        "a trace takes up the attention of the wrong frame",
        "engine/trace.py",
        "self._kept // self._per_frame",
        "torch.arange(len(self._kept)) // self._per_frame",
    ),
    Mutation(
        "a trace names tokens by their place among the kept",
        "engine/trace.py",
        "tuple(self._kept[which].sort().values.tolist())",
        "tuple(which.nonzero().flatten().tolist())",
    ),
    Mutation(
        "a trace forgets what was active before",
        "engine/trace.py",
        "was_active, renewals_before = is_active, renewals",
        "renewals_before = renewals",
    ),
)


def main() -> int:
    """Try every mutation (or those whose description contains the argument)."""
    wanted = [m for m in MUTATIONS if not sys.argv[1:] or sys.argv[1] in m.what]
    if (red := _try(None)) is not None:
        raise SystemExit(f"a test is red before anything was broken: {red}")
    survivors = 0
    for mutation in wanted:
        caught = _try(mutation)
        survivors += caught is None
        print(
            f"{'SURVIVED' if caught is None else 'caught':9}{mutation.what}: {caught}", flush=True
        )
    print(f"{len(wanted) - survivors} of {len(wanted)} mutations caught")
    return int(survivors > 0)


def _try(mutation: Mutation | None) -> str | None:
    """The test that goes red, or None; without a mutation, on a copy that is whole."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "dycoke_cli")
        shutil.copytree(
            ROOT / "src" / "dycoke_cli",
            package,
            ignore=shutil.ignore_patterns(WEIGHTS.name),
        )
        (package / WEIGHTS).symlink_to(ROOT / "src" / "dycoke_cli" / WEIGHTS)
        if mutation is not None:
            _break(package / mutation.file, mutation)
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TESTS],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
    return failed.group(1) if failed else None


def _break(path: Path, mutation: Mutation) -> None:
    text = path.read_text()
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.what}: the line to break is not there exactly once")
    path.write_text(text.replace(mutation.old, mutation.new))


if __name__ == "__main__":
    sys.exit(main())
