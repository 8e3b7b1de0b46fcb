"""Whether two runs say the same, to the letter or within what their dtype can tell apart."""

from __future__ import annotations

from typing import Any

import torch

from dycoke_cli.verification.running import Run
from dycoke_cli.verification.step import FAILED, OK, Outcome

# How far logits may be apart, as a share of the largest: what sums of a few thousand products,
# over a few dozen layers, differ by when they are added up in another order.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def compared(ours: Run, theirs: Run, dtype: torch.dtype) -> tuple[Outcome, dict[str, Any]]:
    """Verdict and figures of one run against another.

    Up to the first token at which they part both have read the same: there their logits are
    compared, and at all tokens before.

    Args:
        ours: with a method attached.
        theirs: what it must be.
        dtype: of the model.
    """
    length = min(len(ours.tokens), len(theirs.tokens))
    apart = (ours.tokens[:length] != theirs.tokens[:length]).nonzero().flatten()
    same = length if not len(apart) else int(apart[0])
    steps = min(same + 1, length)
    difference = (ours.logits[:steps] - theirs.logits[:steps]).abs().max()
    largest = theirs.logits[:steps].abs().max()
    share = float(difference / largest)
    verdict = OK if share <= TOLERANCE[dtype] else FAILED
    # Of a number type that tells this little apart, equal logits may yet rank two words otherwise.
    if dtype == torch.float32 and same < length:
        verdict = FAILED
    figures = {"tokens": length, "tokens_alike": same, "logits_apart": share}
    return verdict, figures
