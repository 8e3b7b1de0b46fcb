"""Which of this program's kernels a CPU gets: the one place that decides, by what was measured.

With AMX (Intel, Sapphire Rapids and later) stock SDPA computes attention 1.4 to 2 times as fast as
ours, and a layer in bfloat16 takes half the time of one in int8; packed linear layers are faster
there too. On AMD EPYC without AMX our attention and int8 are the faster ones. docs/speed.md has the
figures of each processor.
"""

from __future__ import annotations

from dycoke_cli.models.private_api import has_amx

INT8_IS_SLOWER = (
    "--quantize int8 is slower than bfloat16 on this processor, which has AMX; it saves memory "
    "only: drop it where the model fits without"
)


def own_attention_suits() -> bool:
    """Whether `--kernels fast` takes the attention of `dycoke_cli.kernels` on this CPU."""
    return not has_amx()


def int8_is_slower() -> bool:
    """Whether linear layers in 8 bits take longer than in bfloat16 on this CPU."""
    return has_amx()
