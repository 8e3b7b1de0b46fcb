"""Breaks the code on purpose, one place at a time, and checks that a test goes red each time.

Run on demand: `python -m tests.mutations` (or `make mutants`). It edits a copy of `src`, never the
checkout. The table says what was broken; the output says which test caught it. Places are found by
the shape of their code (`mutating.py`); `test_mutations.py` holds that each of them still is.
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

from tests.mutating import changed

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("tests/compression", "tests/engine")
METHODS = ("tests/compression",)
MERGING = ("tests/families/test_merging.py",)
ATTENTION = ("tests/engine/vision_tower/test_tower_attention.py",)
KERNELS = ("tests/kernels",)
TOWERS = (
    "tests/engine/vision_tower/test_stacked_towers.py",
    "tests/engine/vision_tower/test_stacked.py",
)
PACKED = ("tests/engine/vision_tower/test_packed_towers.py",)
EARLY_RULE = ("tests/compression/test_merging_early.py",)
EARLY = ("tests/engine/test_merging_early.py",)
ELSEWHERE = (
    "tests/families/test_elsewhere.py::test_answers_are_those_of_the_cpu[elsewhere-internvl-host]",
)
OWN = ("tests/compression/test_key_index.py", "tests/engine/test_own.py")
COVERAGE = ("tests/compression/test_coverage.py",)
METRICS = ("tests/evaluation/scoring/test_statistics.py",)
PROCESSORS = ("tests/kernels/test_processor.py",)
CHOICE = ("tests/kernels/test_choice.py",)
PROMPTS = ("tests/families/test_chunked_prefill.py", "tests/families/test_prefix_cache.py")
SAMPLING = (
    "tests/video/test_sampling.py",
    "tests/video/test_any_sampling.py",
    "tests/video/test_containers.py",
)
CHOICES = ("tests/evaluation/scoring/test_choices.py",)
SCORES = ("tests/evaluation/scoring/test_scores.py",)
KEYS = ("tests/test_request.py",)
ENCODED = ("tests/engine/test_visual_cache.py",)
JOURNALS = (
    "tests/runs/test_journal.py",
    "tests/runs/test_results.py",
    "tests/evaluation/test_answers.py",
)
LAYOUTS = ("tests/engine/test_any_layout.py", "tests/engine/test_kv_store.py")
WEIGHTS = Path("models", "mini", "checkpoint")  # large and never broken: linked, not copied


@dataclass(frozen=True)
class Mutation:
    """One place broken: in `where`, `pattern` becomes `replacement`; `tests` should notice."""

    what: str
    where: str
    pattern: str
    replacement: str
    tests: tuple[str, ...] = TESTS


MUTATIONS = (
    Mutation(
        "scores come from the wrong layer",
        "shorten",
        "P.layer - 1 if P and P.selector else None",
        "max(P.layer - 2, 0) if P and P.selector else None",
    ),
    Mutation(
        "pruning starts one layer late",
        "KVStore.__init__",
        "[*(KVLayer() for _ in range(A)), *B]",
        "[*(KVLayer() for _ in range(A + 1)), *B]",
    ),
    Mutation(
        "entries swap into the wrong slots",
        "Slots.arrange",
        "A[B], A[C] = D, E",
        "A[B], A[C] = E, D",
    ),
    Mutation(
        "the active part starts one row late",
        "Slots.arrange",
        "A + len(B) - len(C)",
        "A + len(B) - len(C) + 1",
    ),
    Mutation(
        "swaps of the step before are made again",
        "KVStore.begin_step",
        "self.A = None",
        "pass",
    ),
    Mutation(
        "values stay behind when keys swap",
        "PrunedLayer._swap",
        "(self.keys.flatten(0, 1), self.values.flatten(0, 1))",
        "(self.keys.flatten(0, 1),)",
    ),
    Mutation(
        "growing forgets the last row",
        "KVLayer._grow",
        "A[:, :B] = C[:, :B]",
        "A[:, : B - 1] = C[:, : B - 1]",
    ),
    Mutation(
        "no recall at all",
        "VisualSelector.__init__",
        "not recall",
        "True",
    ),
    Mutation(
        "attention is compared with the step before",
        "VisualSelector.step",
        "A is None or self._moved(B)",
        '(A is None or self._moved(B), setattr(self, "_reference", B))[0]',
    ),
    Mutation(
        "published, attention is compared with the last choice",
        "VisualSelector._published_step",
        "self._reference = A",
        "self._reference = A if reselect else self._reference",
    ),
    Mutation(
        "the least attended tokens stay",
        "base.top",
        "A.argsort(descending=True, stable=True)",
        "A.argsort(descending=False, stable=True)",
    ),
    Mutation(
        "one token too many is active",
        "tokens_left",
        "int(A * (1 - B))",
        "int(A * (1 - B)) + 1",
    ),
    Mutation(
        "frame 2 is compared with frame 1",
        "ttm.comparisons",
        "A % 2",
        "True",
    ),
    Mutation(
        "the most similar tokens stay",
        "ttm.keep_indices",
        "A.argsort(stable=True)[:B]",
        "A.argsort(stable=True)[-B:]",
    ),
    Mutation(
        "ties are left to rounding",
        "similarity.wide",
        "torch.float64",
        "torch.float32",
    ),
    Mutation(
        "a budget is rounded",
        "budget.budget",
        "int(A * B * C)",
        "round(A * B * C)",
        METHODS,
    ),
    Mutation(
        "EVS drops tokens of the first frame",
        "EVS.kept_tokens",
        "max(A, super().kept_tokens(B, A))",
        "super().kept_tokens(B, A)",
        METHODS,
    ),
    Mutation(
        "VidCom2 keeps the most redundant tokens",
        "VidCom2.select",
        "top(-A[B], C)",
        "top(A[B], C)",
        METHODS,
    ),
    Mutation(
        "VidCom2 fills up its budget whatever the frames chose",
        "VidCom2.select",
        "(~A.flatten()[B]).int()",
        "(~A.flatten()[B]).int() * 0",
        METHODS,
    ),
    Mutation(
        "V-CAST gives each frame one of what is left",
        "VCast._counts",
        "min(A, B - C[D])",
        "min(1, A, B - C[D])",
        METHODS,
    ),
    Mutation(
        "a pivot of DART takes again what another took",
        "DART.choose",
        "A.masked_fill(B, torch.inf)",
        "A",
        METHODS,
    ),
    Mutation(
        "merged tokens stay what they were",
        "shorten",
        "A[B, C.to(A.device)] = D.features.to(A)",
        "pass",
        MERGING,
    ),
    Mutation(
        "the attention of all queries counts, though there is a class token",
        "TowerRecorder.note",
        "Q[:, :, :1] if A else Q",
        "Q",
        ATTENTION,
    ),
    Mutation(
        "what an earlier video was attended to stays",
        "TowerRecorder.take",
        "A, self._recorded = self._recorded, []",
        "A = self._recorded",
        ATTENTION,
    ),
    Mutation(
        "VisionZip merges into the least similar",
        "VisionZip.reduced",
        "A.float().argmax(-1)",
        "A.float().argmin(-1)",
        METHODS,
    ),
    Mutation(
        "HoliTom merges what moves",
        "segments_of",
        "(A + 1) * B",
        "A + 1",
        METHODS,
    ),
    Mutation(
        "FlashVID chooses a token twice",
        "flashvid.diverse",
        "A.amin(0).index_fill(0, B, -torch.inf)",
        "A.amin(0)",
        METHODS,
    ),
    Mutation(
        "FastVID's anchors are counted from the first frame",
        "FastVID._quotas",
        "(len(A) - 1) % B",
        "0",
        METHODS,
    ),
    Mutation(
        "CDPruner forgets what it chose before",
        "_greedy",
        "A[B[C]] - D[:, C] @ D",
        "A[B[C]]",
        METHODS,
    ),
    Mutation(
        "CDPruner makes rows as if nothing had been chosen before",
        "_residual",
        "A -= B[:, C].T @ B[:, D]",
        "pass",
        METHODS,
    ),
    Mutation(
        "generated tokens don't move back over the gaps",
        "prefill._positions",
        "return A, A[:, -1:] + 1",
        "return A, positions[:, -1:] + 1",
    ),
    Mutation(
        "kept tokens keep their positions though renumbered",
        "prefill._positions",
        "M.renumbers()",
        "False",
    ),
    Mutation(
        "scores take in a text token",
        "Call.select",
        "W[A.to(W.device) - B]",
        "W[A.to(W.device) - B + 1]",
    ),
    Mutation(
        "heads share the scores of the wrong group",
        "attention_to_keys",
        "A.reshape(B, -1, C)",
        "A.reshape(-1, B, C).transpose(0, 1)",
    ),
    Mutation(
        "attention is not switched back",
        "AttentionSwitch.leave",
        "A.count == 0",
        "A.count == 1",
    ),
    Mutation(
        "what is hooked onto a layer isn't called",
        "_is_known",
        "not changed_by_others(A)",
        "True",
    ),
    Mutation(
        "a flat step isn't compared with the stock layer",
        "FlatDecoder.agrees",
        "torch.equal(A, B)",
        "True",
    ),
    Mutation(
        "queries and keys are turned the other way",
        "_signed",
        "torch.cat((-A, B), -1)",
        "torch.cat((A, -B), -1)",
    ),
    Mutation(
        "hooks run in other threads too",
        "before_forward.here",
        "K is None or threading.get_ident() != A",
        "K is None",
    ),
    Mutation(
        "hooks need keyword arguments in other threads",
        "before_forward.here",
        "K is None or threading.get_ident() != A",
        "len(K) < 0 or threading.get_ident() != A",
    ),
    Mutation(
        "discard keeps the rows",
        "DiscardingLayer._swap",
        "self.keys = A.clone()",
        "self.keys = A",
    ),
    Mutation(
        "the sequences of a batch share their choice",
        "Call.select",
        "None if R.selector is None else R.select(A)",
        "None if R.selector is None else self.sequences[0].select(A)",
    ),
    Mutation(
        "padding is read as if it were text",
        "KVStore.mask",
        "return A >= B",
        "return None",
    ),
    Mutation(
        "pruned layers get the mask of the others",
        "KVStore.mask",
        "[A.first for A in B] if C else D",
        "D",
    ),
    Mutation(
        "swaps land in the first sequence of a batch",
        "PrunedLayer._flat",
        "A[:, 0] * B + A[:, 1] - C",
        "A[:, 1] - C",
    ),
    Mutation(
        "other tokens come back from the host",
        "OffloadedLayer._swap",
        "A.fetch(B)",
        "A.fetch(B.flip(0))",
    ),
    Mutation(
        "the sequences of a batch fetch each other's tokens",
        "KVStore.__init__",
        "A += len(B)",
        "A += 0",
    ),
    Mutation(
        "on the host, text moves up when the active tokens come in",
        "OffloadedLayer._with_room",
        "A[:, B : B + C] = D[:, :C]",
        "A[:, :C] = D[:, :C]",
    ),
    Mutation(
        "coverage forgets what is covered",
        "_Window.take",
        "self._covered[A] = B",
        "self._covered[A] = B * 0",
        COVERAGE,
    ),
    Mutation(
        "coverage counts what was covered before",
        "_Window.take",
        "A.sub_(B[:, None]).clamp_min_(0).sum(0)",
        "A.sum(0)",
        COVERAGE,
    ),
    Mutation(
        "windows take turns whatever their gains",
        "most_covering",
        "A.index(max(A))",
        "len(C) % len(A)",
        COVERAGE,
    ),
    Mutation(
        "tokens of a window are alike at any distance in time",
        "similarities",
        "A.add_(torch.cdist(B, B, p=1))",
        "A",
        COVERAGE,
    ),
    Mutation(
        "similarities are relative to nothing",
        "similarities",
        "A * DISTANCE_STEP",
        "DISTANCE_STEP",
        COVERAGE,
    ),
    Mutation(
        "a kept token is merged into a copy of it",
        "owners",
        "A = B[C.max(0).indices]; A[B] = B",
        "A = B[C.max(0).indices]",
        COVERAGE,
    ),
    Mutation(
        "inside the tower what changed most is merged",
        "keep_changed",
        "top(-A, B)",
        "top(A, B)",
        EARLY_RULE,
    ),
    Mutation(
        "inside the tower a window's tokens are taken for those of the first",
        "keep_changed",
        "A * B + C",
        "C",
        EARLY_RULE,
    ),
    Mutation(
        "random dropping keeps what the tower encoded",
        "RandomMerge.choose",
        "return Selection(self.select(A.features))",
        "return super().choose(A)",
        EARLY,
    ),
    Mutation(
        "with a budget random dropping merges as much in the tower as dycoke",
        "RandomMerge.merged_early",
        "A if self.retain is None else B",
        "A",
        EARLY,
    ),
    Mutation(
        "an index has the axes along which keys vary least",
        "KeyIndex.of",
        "A[..., -max(1, B):].flip(-1)",
        "A[..., :max(1, B)]",
        OWN,
    ),
    Mutation(
        "an index is not scaled to 8 bits",
        "KeyIndex.of",
        "A / LARGEST",
        "A * 0 + 1",
        OWN,
    ),
    Mutation(
        "approximate scores lack the mean of the keys",
        "KeyIndex.scores",
        "A[..., :-1] @ B + A[..., -1:]",
        "A[..., :-1] @ B",
        OWN,
    ),
    Mutation(
        "among equal tokens a layer selects the later ones",
        "top_of_each",
        "1 - N * 2.0**-42",
        "1 + N * 2.0**-42",
        OWN,
    ),
    Mutation(
        "text takes no part in what a layer selects by",
        "KeySelector.attention",
        "torch.cat([V, O], -1)",
        "torch.cat([V, O.fill_(-1e9)], -1)",
        OWN,
    ),
    Mutation(
        "each head of a shared selection counts alone",
        "KeySelector.attention",
        "W.flatten(1, 2).mean(1, keepdim=True)",
        "W.flatten(1, 2)[:, :1]",
        OWN,
    ),
    Mutation(
        "a layer reads the entries before those that it selects",
        "IndexedLayer._gathered",
        "A + self.B.first_slot",
        "A + self.B.first_slot - 1",
        OWN,
    ),
    Mutation(
        "the sequences of a batch fetch each other's selections",
        "IndexedLayer._fetched",
        "A + self.B.first_token",
        "A",
        OWN,
    ),
    Mutation(
        "all KV heads read the entries of the first",
        "IndexedLayer._rows",
        "A.mT * B + torch.arange(B, device=C)",
        "A.mT * B",
        OWN,
    ),
    Mutation(
        "text is missing in a sequence with more of it than another",
        "BatchLayout.of",
        "int(A.min())",
        "int(A.max())",
        OWN,
    ),
    Mutation(
        "an index is not counted among what a step reads",
        "IndexedLayer.read",
        "sum(A) + B.nbytes",
        "sum(A)",
        OWN,
    ),
    Mutation(
        "a finished call keeps its memory",
        "shorten",
        "weakref.ref(A)",
        "(lambda: A)",
    ),
    Mutation(
        "FastV ranks by the first query of the prompt",
        "_scoring.attention",
        "A[:, :, -1:]",
        "A[:, :, :1]",
    ),
    Mutation(
        "FastV drops its tokens one layer late",
        "TokenPruning.pruned",
        "A == self.layer",
        "A == self.layer + 1",
    ),
    Mutation(
        "FastV keeps the tokens behind the ones it chose",
        "TokenPruning.select",
        "A[V[B]] = True",
        "A[V[(B + 1).clamp(max=len(V) - 1)]] = True",
    ),
    Mutation(
        "FastV closes the gaps in the positions",
        "TokenPruning.pruned",
        "self._gather(A, -2)",
        "A[..., : len(self.tokens), :]",
    ),
    Mutation(
        "FastV leaves its hooks on the layers",
        "Attachment.__enter__",
        "self._hooks.append(A)",
        "A",
    ),
    Mutation(
        "FLOPs forget that later layers read less of the prompt",
        "paper_flops",
        "[text + visual_last] * A",
        "[text + visual_kept] * A",
    ),
    Mutation(
        "a catalog's prune layer counts for FastV",
        "Method.suited",
        "A in parameters and parameters[A] is None",
        "A in parameters",
    ),
    Mutation(
        "a trace takes up the attention to the wrong keys",
        "Recorder.attend",
        "A[places.to(B)]",
        "A[: len(places)]",
    ),
    Mutation(
        "a trace names tokens by their place among the kept",
        "Recorder._tokens",
        "self.kept[A].sort().values.tolist()",
        "A.nonzero().flatten().tolist()",
    ),
    Mutation(
        "a trace forgets what was active before",
        "Recorder.trace",
        "A, B = is_active, D",
        "B = D",
    ),
    Mutation(
        "a query sees the key behind it",
        "causal_attention",
        "A.triu(1)",
        "A.triu(2)",
        KERNELS,
    ),
    Mutation(
        "scores within a frame aren't scaled",
        "bidirectional_attention",
        "A * scaling",
        "A * 1.0",
        KERNELS,
    ),
    Mutation(
        "a packed layer forgets its bias",
        "Bfloat16Linear.product",
        "self.bias",
        "None",
        KERNELS,
    ),
    Mutation(
        "an activation is computed twice",
        "use_packed",
        "A.set_submodule(B, nn.Identity())",
        "A.get_submodule(B)",
        KERNELS,
    ),
    Mutation(
        "a rounded token doesn't get its size back",
        "FbgemmInt8Linear.product",
        "A._product(B / C).mul_(C)",
        "A._product(B / C)",
        KERNELS,
    ),
    Mutation(
        "a token rounded for oneDNN doesn't get its size back",
        "Int8Linear._block",
        "A.mul_(B)",
        "A",
        KERNELS,
    ),
    Mutation(
        "a token rounded for oneDNN doesn't get its minimum back",
        "Int8Linear._block",
        "torch.addcmul(A, B, self._sums, out=A)",
        "A",
        KERNELS,
    ),
    Mutation(
        "negative weights don't count for the scale in 8 bits",
        "int8_linear._scales",
        "torch.maximum(-A, B)",
        "B",
        KERNELS,
    ),
    Mutation(
        "a CPU with AMX gets our attention",
        "unmeasured",
        "frozenset() if A else B",
        "B",
        PROCESSORS,
    ),
    Mutation(
        "bfloat16 gets our attention where it is emulated",
        "unmeasured",
        "[DECODE] if A else B",
        "B",
        PROCESSORS,
    ),
    Mutation(
        "int8 doesn't say where it is slower",
        "unmeasured",
        "quantized and A",
        "False",
        PROCESSORS,
    ),
    Mutation(
        "a kernel is chosen that is slower than stock",
        "choice.fastest",
        "min(A, key=B)",
        "max(A, key=B)",
        CHOICE,
    ),
    Mutation(
        "chunks are forgotten while a method is attached",
        "has_own_attention",
        "A.endswith(OURS)",
        "A == OURS",
        PROMPTS,
    ),
    Mutation(
        "the video is read anew for each question",
        "PrefixCache.restore",
        "A is None",
        "True",
        PROMPTS,
    ),
    Mutation(
        "the same tokens at other positions are the same prefix",
        "_prefix_key",
        "A[..., :B]",
        "A[..., :0]",
        PROMPTS,
    ),
    Mutation(
        "a prefix with other weights of merged tokens is the same",
        "_prefix_key",
        "A.append(B.sequences[0].bias)",
        "None",
        ("tests/engine/test_proportional.py",),
    ),
    Mutation(
        "a merged token counts for one in decode",
        "KVStore.bias",
        "A[:, None, None]",
        "A[:, None, None] * self._in_prefill",
        ("tests/engine/test_proportional.py",),
    ),
    Mutation(
        "the last frame may be an earlier one",
        "first_alike",
        "return [*A[:-1], B]",
        "return A",
    ),
    Mutation(
        "patches that are left out are blank",
        "Window.widen",
        "A.index_copy(-2, B, C)",
        "torch.zeros_like(A).index_copy(-2, B, C)",
        TOWERS,
    ),
    Mutation(
        "class tokens of whole frames are left out",
        "MergedVision._before_layer",
        "[A is None for A in B]",
        "[False for A in B]",
        TOWERS,
    ),
    Mutation(
        "layers before the last hand on parts of frames",
        "Window.whole",
        "return self.widen(A[0])",
        "return A",
        TOWERS,
    ),
    Mutation(
        "a token is made of the patches of another",
        "_connected_rows",
        "A.pixel_shuffle(B, C)",
        "A.pixel_shuffle(B.flip(1), 2)",
        TOWERS,
    ),
    Mutation(
        "tokens are selected in the order in which windows have them",
        "PackedVision._select",
        "A.mean(2)[:, B.argsort()]",
        "A.mean(2)",
        PACKED,
    ),
    Mutation(
        "the patches of other tokens go on through windows",
        "PackedVision._select",
        "A[:, B].repeat_interleave(C, dim=1)",
        "A.repeat_interleave(C, dim=1)",
        PACKED,
    ),
    Mutation(
        "windows follow each other column by column",
        "_by_window",
        "A * B + C",
        "C * B + A",
        PACKED,
    ),
    Mutation(
        "behind the selection windows see whole frames",
        "PackedVision._before_layer",
        "tuple(A for A in B if A <= C)",
        "(0, C)",
        PACKED,
    ),
    Mutation(
        "patches that go on have the positions of the first ones",
        "PackedVision._before_layer",
        "tuple(map(self._narrow, A))",
        "tuple(B[: len(args[0])] for B in A)",
        PACKED,
    ),
    Mutation(
        "a window begins one patch late where that patch is kept",
        "Window.counts",
        "torch.searchsorted(A.cpu(), B)",
        "torch.searchsorted(A.cpu(), B, right=True)",
        PACKED,
    ),
    Mutation(
        "merged tokens stand at the first places of a frame",
        "PackedVision._whole",
        "[A[::B] // B for A in C]",
        "[torch.arange(len(A) // B) for A in C]",
        PACKED,
    ),
    Mutation(
        "frames are those of the first row of the grid",
        "PackedVision._begin",
        "int(A[:, 0].sum())",
        "int(A[0, 0])",
        PACKED,
    ),
    Mutation(
        "pruning starts one token late",
        "prefill._sequence",
        "len(A) < max(1, B)",
        "len(A) <= max(1, B)",
    ),
    Mutation(
        "errors of paired differences aren't clustered",
        "evaluation.statistics",
        "clustered_mean(differences, A)",
        "clustered_mean(differences, [item.id for item in items])",
        METRICS,
    ),
    Mutation(
        "the padding of shortened prompts stays on the CPU",
        "shorten",
        "A = A.to(B.device)",
        "A = A.cpu()",
        ELSEWHERE,
    ),
    Mutation(
        "a hair less than a step makes another frame",
        "wanted_times",
        "math.ceil(A * B - 1e-6)",
        "math.ceil(A * B)",
        SAMPLING,
    ),
    Mutation(
        "a frame at the end of the part belongs to it",
        "nearest_frames",
        "A - B <= C < D",
        "A - B <= C <= D",
        SAMPLING,
    ),
    Mutation(
        "a frame at the end of the part belongs to it where frames are few",
        "frame_times",
        "A <= B < C",
        "A <= B <= C",
        SAMPLING,
    ),
    Mutation(
        "of two frames that are equally near the later one is taken",
        "nearest_frames",
        "min(A, key=B)",
        "min(reversed(A), key=B)",
        SAMPLING,
    ),
    Mutation(
        "a frame that serves two moments is read twice",
        "nearest_frames",
        "A is None or B.time_s > A",
        "A is None or B.time_s >= A",
        SAMPLING,
    ),
    Mutation(
        "as many frames as are wanted are too many",
        "frame_times",
        "0 < len(A) <= B",
        "0 < len(A) < B",
        SAMPLING,
    ),
    Mutation(
        "time stamps in a prompt are cut off at a millisecond",
        "video_prompt.frames_metadata",
        "round(FRAMES_PER_SECOND * A)",
        "int(FRAMES_PER_SECOND * A)",
        ("tests/models/prompts/test_video_prompt.py",),
    ),
    Mutation(
        "time stamps in a prompt aren't rounded",
        "video_prompt.frames_metadata",
        "round(FRAMES_PER_SECOND * A)",
        "FRAMES_PER_SECOND * A",
        ("tests/models/prompts/test_video_prompt.py",),
    ),
    Mutation(
        "macro accuracy is the mean over labels",
        "make_row",
        "_mean_of_kinds(A) if B else None",
        "_mean_of_kinds(by(lambda item: item.label)) if B else None",
        SCORES,
    ),
    Mutation(
        "videos whose questions don't count decide what is detectable",
        "make_row",
        "{A.video for A in B if _counts(A, C, D)}",
        "{A.video for A in B}",
        SCORES,
    ),
    Mutation(
        "of several announced letters the first counts",
        "choices._decided",
        "A = B.letters",
        "A = others[0].letters",
        CHOICES,
    ),
    Mutation(
        "a letter behind the last option falls through to its text",
        "choices.chosen",
        "return A[1].upper() if A[1].upper() in B else None",
        "if A[1].upper() in B: return A[1].upper()",
        CHOICES,
    ),
    Mutation(
        "punctuation inside a short answer doesn't count",
        "exact._bare",
        "A.strip(B)",
        "''.join(one for one in A if one not in B[1:]).strip()",
        SCORES,
    ),
    Mutation(
        "a similarity equal to the recall threshold selects anew",
        "VisualSelector._moved",
        "A < self.recall_threshold",
        "A <= self.recall_threshold",
        METHODS,
    ),
    Mutation(
        "an end token at the limit of length is none",
        "generation.generate",
        "int(A[-1]) in B",
        "int(A[-1]) in B and len(A) < options.max_new_tokens",
        ("tests/engine/test_session.py",),
    ),
    Mutation(
        "the key of a batch forgets the dtype",
        "plan.identity",
        "A != 'device'",
        "A not in ('device', 'dtype')",
        KEYS,
    ),
    Mutation(
        "the key of a batch forgets the id of a question",
        "Plan.key",
        "A.id",
        "None",
        KEYS,
    ),
    Mutation(
        "the setup of an evaluation forgets the temperature",
        "method_row._options",
        "('frames', 'max_new_tokens')",
        "('frames', 'max_new_tokens', 'temperature')",
        KEYS,
    ),
    Mutation(
        "an encoded video of another dtype is the same",
        "visual_cache.key_of",
        "A.dtype",
        "''",
        ENCODED,
    ),
    Mutation(
        "an encoded video of another shape is the same",
        "visual_cache.key_of",
        "tuple(A.shape)",
        "''",
        ENCODED,
    ),
    Mutation(
        "an encoded video of another release is the same",
        "visual_cache.key_of",
        "{'release': A, 'model': B}",
        "{'model': B}",
        ENCODED,
    ),
    Mutation(
        "what a full disk left half written stays",
        "Journal.write",
        "os.ftruncate(A, B)",
        "None",
        JOURNALS,
    ),
    Mutation(
        "a full disk takes back a line that was whole",
        "Journal.write",
        "self._size += len(A)",
        "pass",
        JOURNALS,
    ),
    Mutation(
        "a last line without its end counts",
        "Journal._read",
        "not A.endswith(B)",
        "False",
        JOURNALS,
    ),
    Mutation(
        "damaged lines are cut out from the first one on",
        "Journal._repair",
        "reversed(A)",
        "A",
        JOURNALS,
    ),
    Mutation(
        "of two lines with one key the first one stays",
        "results._keep_last_lines",
        "A.pop(B, None); A[B] = C",
        "A[B] = A.get(B, C)",
        JOURNALS,
    ),
    Mutation(
        "before each sequence stand the visual tokens of the first alone",
        "BatchLayout.of",
        "A.cumsum(0) - A",
        "A[0] * torch.arange(len(A)).clamp(max=1)",
        LAYOUTS,
    ),
    Mutation(
        "a step selects as many of each sequence as of the first",
        "BatchLayout.of",
        "max(A)",
        "A[0]",
        LAYOUTS,
    ),
    Mutation(
        "the first slot that a step reads counts as evicted",
        "Slots.arrange",
        "A < self.first",
        "A <= self.first",
        LAYOUTS,
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
            file, text = changed(mutation.where, mutation.pattern, mutation.replacement)
            Path(folder, file).write_text(text, encoding="utf-8")
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


if __name__ == "__main__":
    sys.exit(main())
