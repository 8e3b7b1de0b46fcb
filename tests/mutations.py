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
KERNELS = ("tests/kernels", "tests/models/test_linear_layers.py")
TOWERS = ("tests/engine/test_merged_towers.py", "tests/engine/test_merged_vision.py")
ELSEWHERE = ("tests/families/test_elsewhere.py::test_answers_are_those_of_the_cpu[internvl-host]",)
PROMPTS = ("tests/families/test_chunked_prefill.py", "tests/families/test_prefix_cache.py")
METRICS = ("tests/evaluation/test_metrics.py",)
PROCESSORS = ("tests/models/test_cpu.py",)
WEIGHTS = Path("models", "mini", "checkpoint")  # large and never broken: linked, not copied


@dataclass(frozen=True)
class Mutation:
    """One line broken: in `file`, `old` becomes `new`; `tests` are those that should notice."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = TESTS


MUTATIONS = (
    Mutation(
        "scores come from the wrong layer",
        "engine/prefill.py",
        "layer=pruning.layer - 1 if pruning else None",
        "layer=max(pruning.layer - 2, 0) if pruning else None",
    ),
    Mutation(
        "pruning starts one layer late",
        "engine/kv_cache/__init__.py",
        "*(KVLayer() for _ in range(self._first_pruned)),",
        "*(KVLayer() for _ in range(self._first_pruned + 1)),",
    ),
    Mutation(
        "entries swap into the wrong slots",
        "engine/kv_cache/slots.py",
        "slot_of[entering], slot_of[leaving] = target, source",
        "slot_of[entering], slot_of[leaving] = source, target",
    ),
    Mutation(
        "the active part starts one row late",
        "engine/kv_cache/slots.py",
        "self._padding + len(slot_of) - len(active)",
        "self._padding + len(slot_of) - len(active) + 1",
    ),
    Mutation(
        "swaps of the step before are made again",
        "engine/kv_cache/__init__.py",
        "        self._in_prefill = False\n        self._swaps = None\n",
        "        self._in_prefill = False\n",
    ),
    Mutation(
        "values stay behind when keys swap",
        "engine/kv_cache/pruned.py",
        "for held in (self.keys.flatten(0, 1), self.values.flatten(0, 1)):",
        "for held in (self.keys.flatten(0, 1),):",
    ),
    Mutation(
        "growing forgets the last row",
        "engine/kv_cache/layer.py",
        "grown[:, : self.entries] = held[:, : self.entries]",
        "grown[:, : self.entries - 1] = held[:, : self.entries - 1]",
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
        "published, attention is compared with the last choice",
        "compression/kv_pruning.py",
        "        self._reference = scored\n",
        "        self._reference = scored if renew else self._reference\n",
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
        "engine/prefill.py",
        "return numbers, numbers[:, -1:] + 1",
        "return numbers, positions[:, -1:] + 1",
    ),
    Mutation(
        "kept tokens keep their positions though renumbered",
        "engine/prefill.py",
        "    if method.renumbers():\n",
        "    if False:\n",
    ),
    Mutation(
        "scores take in a text token",
        "engine/call.py",
        "weights[sequence.visual.to(weights.device) - sequence.padding]",
        "weights[sequence.visual.to(weights.device) - sequence.padding + 1]",
    ),
    Mutation(
        "heads share the scores of the wrong group",
        "engine/attention.py",
        "grouped = query.reshape(heads, -1, width)",
        "grouped = query.reshape(-1, heads, width).transpose(0, 1)",
    ),
    Mutation(
        "attention is not switched back",
        "engine/attention.py",
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
        "engine/kv_cache/pruned.py",
        "self.keys = self.keys[:, freed:].clone()",
        "self.keys = self.keys[:, freed:]",
    ),
    Mutation(
        "the sequences of a batch share their choice",
        "engine/call.py",
        "None if sequence.selector is None else sequence.select(weights)",
        "None if sequence.selector is None else self.sequences[0].select(weights)",
    ),
    Mutation(
        "padding is read as if it were text",
        "engine/kv_cache/__init__.py",
        "return slots >= torch.tensor(firsts, device=key.device)[:, None]",
        "return None",
    ),
    Mutation(
        "pruned layers get the mask of the others",
        "engine/kv_cache/__init__.py",
        "if pruned else self._paddings",
        "if pruned and False else self._paddings",
    ),
    Mutation(
        "swaps land in the first sequence of a batch",
        "engine/kv_cache/pruned.py",
        "slots[:, 0] * self.keys.shape[1] + slots[:, 1] - self.base",
        "slots[:, 1] - self.base",
    ),
    Mutation(
        "other tokens come back from the host",
        "engine/kv_cache/offloaded.py",
        "host.fetch(swaps.tokens)",
        "host.fetch(swaps.tokens.flip(0))",
    ),
    Mutation(
        "the sequences of a batch fetch each other's tokens",
        "engine/kv_cache/__init__.py",
        "before += len(places)",
        "before += 0",
    ),
    Mutation(
        "on the host, text moves up when the active tokens come in",
        "engine/kv_cache/offloaded.py",
        "wider[:, more : more + self.entries] = held[:, : self.entries]",
        "wider[:, : self.entries] = held[:, : self.entries]",
    ),
    Mutation(
        "a finished call keeps its memory",
        "engine/prefill.py",
        "None if store is None else weakref.ref(store)",
        "None if store is None else (lambda: store)",
    ),
    Mutation(
        "FastV ranks by the first query of the prompt",
        "engine/attention.py",
        "query[:, :, -1:]",
        "query[:, :, :1]",
    ),
    Mutation(
        "FastV drops its tokens one layer late",
        "engine/token_pruning.py",
        "if layer == self.layer:",
        "if layer == self.layer + 1:",
    ),
    Mutation(
        "FastV keeps the tokens behind the ones it chose",
        "engine/token_pruning.py",
        "stays[visual[kept]] = True",
        "stays[visual[(kept + 1).clamp(max=len(visual) - 1)]] = True",
    ),
    Mutation(
        "FastV closes the gaps in the positions",
        "engine/token_pruning.py",
        "self._gather(turns, -2) for turns",
        "turns[..., : len(self.tokens), :] for turns",
    ),
    Mutation(
        "FastV leaves its hooks on the layers",
        "engine/attach.py",
        "self._hooks.append(before_forward(self._decoder.layers[number], hook))",
        "before_forward(self._decoder.layers[number], hook)",
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
        "self.kept // self._per_frame",
        "torch.arange(len(self.kept)) // self._per_frame",
    ),
    Mutation(
        "a trace names tokens by their place among the kept",
        "engine/trace.py",
        "tuple(self.kept[which].sort().values.tolist())",
        "tuple(which.nonzero().flatten().tolist())",
    ),
    Mutation(
        "a trace forgets what was active before",
        "engine/trace.py",
        "was_active, renewals_before = is_active, renewals",
        "renewals_before = renewals",
    ),
    Mutation(
        "a query sees the key behind it",
        "kernels/causal.py",
        "device=query.device).triu(1)",
        "device=query.device).triu(2)",
        KERNELS,
    ),
    Mutation(
        "scores within a frame aren't scaled",
        "kernels/frames.py",
        "query[b, some] * scaling",
        "query[b, some] * 1.0",
        KERNELS,
    ),
    Mutation(
        "a packed layer forgets its bias",
        "kernels/packed_linear.py",
        "rows, self._packed, self.bias, activation",
        "rows, self._packed, None, activation",
        KERNELS,
    ),
    Mutation(
        "an activation is computed twice",
        "models/linear_layers.py",
        "model.set_submodule(activation, nn.Identity())",
        "model.get_submodule(activation)",
        KERNELS,
    ),
    Mutation(
        "a rounded token doesn't get its size back",
        "kernels/int8_linear.py",
        "_product(rows / largest, weight).mul_(largest)",
        "_product(rows / largest, weight)",
        KERNELS,
    ),
    Mutation(
        "negative weights don't count for the scale in 8 bits",
        "kernels/int8_linear.py",
        "torch.maximum(-low, high)",
        "high",
        KERNELS,
    ),
    Mutation(
        "a CPU with AMX gets our attention",
        "models/cpu.py",
        "    return not has_amx()\n",
        "    return True\n",
        PROCESSORS,
    ),
    Mutation(
        "int8 doesn't say where it is slower",
        "models/cpu.py",
        "    return has_amx()\n",
        "    return False\n",
        PROCESSORS,
    ),
    Mutation(
        "chunks are forgotten while a method is attached",
        "engine/chunked_prefill.py",
        "attention_implementation(decoder).endswith(OURS)",
        "attention_implementation(decoder) == OURS",
        PROMPTS,
    ),
    Mutation(
        "the video is read anew for each question",
        "engine/chunked_prefill.py",
        "        if entries is None:\n",
        "        if entries is None or True:\n",
        PROMPTS,
    ),
    Mutation(
        "the same tokens at other positions are the same prefix",
        "engine/chunked_prefill.py",
        "    if positions is not None:\n",
        "    if False:\n",
        PROMPTS,
    ),
    Mutation(
        "the last frame may be an earlier one",
        "engine/frame_dedup.py",
        "return [*found[:-1], frames - 1]",
        "return found",
    ),
    Mutation(
        "patches that are left out are blank",
        "engine/merged_vision.py",
        "whole[reference].index_copy(-2, at, part)",
        "torch.zeros_like(whole[reference]).index_copy(-2, at, part)",
        TOWERS,
    ),
    Mutation(
        "class tokens of whole frames are left out",
        "engine/merged_vision.py",
        "needed[[other is None for other in references]] = True",
        "needed[[False for other in references]] = True",
        TOWERS,
    ),
    Mutation(
        "layers before the last hand on parts of frames",
        "engine/merged_vision.py",
        "return self.widen(patches[0])",
        "return patches",
        TOWERS,
    ),
    Mutation(
        "a token is made of the patches of another",
        "models/families/table.py",
        "return _summed(model.connector.pixel_shuffle(rows, model.connector.scale_factor), rows)",
        "return _summed(model.connector.pixel_shuffle(rows.flip(1), 2), rows)",
        TOWERS,
    ),
    Mutation(
        "pruning starts one token late",
        "engine/prefill.py",
        "len(kept) < max(1, pruning.least)",
        "len(kept) <= max(1, pruning.least)",
    ),
    Mutation(
        "errors of paired differences aren't clustered",
        "evaluation/metrics.py",
        "*clustered_mean(differences, videos)",
        "*clustered_mean(differences, [item.id for item in items])",
        METRICS,
    ),
    Mutation(
        "the padding of shortened prompts stays on the CPU",
        "engine/prefill.py",
        "keep = keep.to(embeds.device)",
        "keep = keep.cpu()",
        ELSEWHERE,
    ),
)


def main() -> int:
    """Try every mutation (or those whose description contains the argument)."""
    wanted = [m for m in MUTATIONS if not sys.argv[1:] or sys.argv[1] in m.what]
    for tests in dict.fromkeys(m.tests for m in wanted):
        if (red := _red(tests, None)) is not None:
            raise SystemExit(f"a test is red before anything was broken: {red}")
    survivors = 0
    for mutation in wanted:
        caught = _red(mutation.tests, mutation)
        survivors += caught is None
        print(
            f"{'SURVIVED' if caught is None else 'caught':9}{mutation.what}: {caught}", flush=True
        )
    print(f"{len(wanted) - survivors} of {len(wanted)} mutations caught")
    return int(survivors > 0)


def _red(tests: tuple[str, ...], mutation: Mutation | None) -> str | None:
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
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
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
