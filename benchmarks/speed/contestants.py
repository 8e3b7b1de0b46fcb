"""Who takes part: ways to answer one question about one video."""

from __future__ import annotations

from dataclasses import dataclass, field

from dycoke_cli import DyCoke, DyCokePlus
from dycoke_cli.compression.method import Method
from dycoke_cli.compression.methods import EVS, RandomMerge, UniformSpatial

NONE, TTM_ONLY, DYCOKE = Method(), DyCoke(kv_prune=False), DyCoke()
MERGED = DyCoke(merge_stage="vision")
A_QUARTER = DyCokePlus(retain=0.25, merge_stage="vision")


@dataclass(frozen=True)
class Contestant:
    """A way to answer."""

    name: str  # in tables; what goes before a comma is the kernels
    # "stock" (SDPA), "eager", or "fast" for custom CPU kernels (and packed layers)
    attention: str = "stock"
    # of our engine; None for the `generate()` of stock transformers
    method: Method | None = field(default=None)
    int8: bool = False  # whether linear layers are quantized
    published: bool = False  # the scheme of the published code in place of our engine
    again: bool = False  # another question about the video was answered before
    linear_alone: bool = False  # only the products of the linear layers, and nothing else
    every: int = 1  # only each n-th frame of the clip is sampled, so that no other one is encoded
    once: bool = False  # in the first round only: something to compare with, and slow for that


PLAIN = Contestant("transformers baseline (SDPA)")
# Kernels and compression, each with and without the other.
TWO_BY_TWO = (
    PLAIN,
    Contestant("stock kernels, DyCoke", "stock", DYCOKE, once=True),
    Contestant("custom CPU kernels", "fast", NONE),
    Contestant("custom CPU kernels, DyCoke", "fast", DYCOKE),
)
BEFORE_VISION = Contestant("custom CPU kernels, DyCoke before vision", "fast", MERGED)
LINEAR_ALONE = Contestant("GEMM-only lower bound", "fast", DYCOKE, linear_alone=True, once=True)
PLAIN_INT8 = Contestant("stock kernels, int8", "stock", NONE, int8=True, once=True)
IN_INT8 = (
    Contestant("custom CPU kernels, DyCoke before vision, int8", "fast", MERGED, int8=True),
    Contestant("custom CPU kernels, DyCoke-plus before vision, int8", "fast", A_QUARTER, int8=True),
)
WITH_WEIGHTS = (
    Contestant("transformers baseline, eager attention", "eager", once=True),
    Contestant("published scheme", "eager", published=True, once=True),
)
SECOND_QUESTION = Contestant(
    "custom CPU kernels, DyCoke, a second question", "fast", DYCOKE, again=True
)
MERGING_ALONE = Contestant("custom CPU kernels, TTM alone", "fast", TTM_ONLY)
# The default beside the simplest rules, which read about as many tokens: equal tokens aren't equal
# seconds.
RULES = (
    PLAIN,
    Contestant("all tokens", "fast", NONE),
    Contestant("fewer frames", "fast", NONE, every=4),
    Contestant("random", "fast", RandomMerge(retain=0.25)),
    Contestant("stride, merged", "fast", UniformSpatial(retain=0.25, merge_dropped=True)),
    Contestant("evs", "fast", EVS(retain=0.25)),
    Contestant("dycoke-plus", "fast", DyCokePlus(retain=0.25)),
    Contestant("dycoke-plus before vision", "fast", A_QUARTER),
    Contestant("ttm (the default)", "fast", TTM_ONLY),
    Contestant("ttm before vision", "fast", DyCoke(kv_prune=False, merge_stage="vision")),
    Contestant("dycoke, both stages", "fast", DYCOKE),
)
# An accelerator runs stock SDPA in any case.
ON_GPU = (
    Contestant("transformers, SDPA"),
    Contestant("nothing dropped", "stock", NONE),
    Contestant("DyCoke", "stock", DYCOKE),
    Contestant("DyCoke, merging before vision", "stock", MERGED),
)
