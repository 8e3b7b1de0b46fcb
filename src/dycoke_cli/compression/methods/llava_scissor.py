"""LLaVA-Scissor: connected components of similar tokens, in each frame and then of the video."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.method import Selection, SelectionInputs
from dycoke_cli.compression.similar import ROWS, LinkedGroups, means, wide
from dycoke_cli.lazy_torch import F, torch

if TYPE_CHECKING:
    import numpy as np

HALVINGS = 11
"""Of the interval from -1 to 1 in which the threshold is: it is a multiple of 2^-10."""


@dataclass(frozen=True)
class LLaVAScissor(Budgeted):
    """LLaVA-Scissor (arXiv 2506.21862), section 3: semantic connected components, in two steps.

    Tokens whose cosine similarity is above a threshold τ are connected; a connected component
    becomes the mean of its tokens, at the place of the token with the most neighbors. The first
    step does this in each frame, the second with what the first has left of all frames, at the same
    τ. Then each token of the video is merged into the survivor that is most like it: a survivor
    becomes the mean of itself and of those. Ties go to the lower index.

    Differs from the authors' code (`llava_arch_zip.py`) in τ. There it is given (.9 to .95), and
    the number of tokens follows from the video. Here it follows from the budget: bisection finds a
    multiple of 2^-10 that leaves as many tokens or a few more. The second step then goes on below
    it: the most similar tokens are connected one after the other (of equally similar ones those of
    lower index) until the count is exact. Components are exact here; theirs are approximate in a
    step of more than some 3,200 tokens, of which they connect only ln(n) / .05² sampled ones.
    """

    name: ClassVar[str] = "llava-scissor"
    title: ClassVar[str] = "LLaVA-Scissor"
    summary: ClassVar[str] = "connected components of similar tokens"
    paper: ClassVar[str | None] = "arXiv 2506.21862"

    def choose(self, inputs: SelectionInputs) -> Selection:
        """One token of each component, with all tokens merged into the most similar one."""
        features = wide(inputs.features)
        tokens, count = features.flatten(0, 1), self.kept_tokens(*features.shape[:2])
        frames = Graph(features)
        low, threshold = -1.0, 1.0
        left, at = frames.components(0, threshold)
        video = Graph(left[None])
        for _ in range(HALVINGS):
            middle = (low + threshold) / 2
            left, left_at = frames.components(frames.edges_above(middle), middle)
            graph = Graph(left[None])
            if len(left) - graph.edges_above(middle) < count:
                low = middle
            else:
                threshold, video, at = middle, graph, left_at
        survivors, places = video.components(len(at) - count, threshold)
        kept = at[places]
        ends = F.normalize(survivors, dim=-1).T
        owner = (F.normalize(tokens, dim=-1) @ ends).float().max(-1).indices
        mean, sizes = means(tokens, owner, count)
        sizes = sizes[:, None]
        into = kept[owner]
        into[kept] = kept  # a component needn't be most like its own place
        return Selection(kept, (survivors + sizes * mean) / (1 + sizes), into)


@dataclass(frozen=True)
class Graph:
    """Tokens in parts, with an edge between each two of a part, as strong as they are similar.

    Args:
        tokens: `[P, n, D]`, in the widest dtype: n tokens of each of P parts.
    """

    tokens: torch.Tensor

    @cached_property
    def alike(self) -> torch.Tensor:
        """Cosine similarities in each part, `[P, n, n]`, float32."""
        directions = F.normalize(self.tokens, dim=-1)
        rows = directions.split(ROWS, 1)
        return torch.cat([(some @ directions.mT).float() for some in rows], 1)

    @cached_property
    def forest(self) -> list[tuple[float, int, int]]:
        """Edges of the maximum spanning tree of each part, the strongest first.

        Each is its strength and its ends, as indices `part*n + token`. What is connected by edges
        above a threshold is connected by those of the forest that are above it. Of equally strong
        edges those of lower indices come first. So there is one forest, and its first k edges are
        the first k of all that connect what wasn't connected.
        """
        # Work for a CPU: each step reads one row, and is known before the next.
        edges = [
            (strength, part * self.tokens.shape[1] + one, part * self.tokens.shape[1] + other)
            for part, alike in enumerate(self.alike.cpu().numpy())
            for strength, one, other in spanning_tree(alike)
        ]
        return sorted(edges, key=lambda edge: (-edge[0], *edge[1:]))

    def edges_above(self, threshold: float) -> int:
        """How many edges of the forest are above a threshold."""
        return sum(strength > threshold for strength, *_ in self.forest)

    def components(self, edges: int, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
        """What the first edges of the forest connect.

        Args:
            edges: how many.
            threshold: of the similarity of neighbors.

        Returns:
            The mean of each of m components, `[m, D]`, and its place, `[m]`, int64, ascending: the
            index of the token that has most neighbors.
        """
        parts, size, _ = self.tokens.shape
        groups = LinkedGroups(range(parts * size))
        groups.unite(ends for _, *ends in self.forest[:edges])
        leaders = groups.of_each()
        neighbors = (self.alike > threshold).sum(-1).flatten()
        by_neighbors = neighbors.argsort(descending=True, stable=True).tolist()
        places = {leaders[token]: token for token in reversed(by_neighbors)}
        device = self.tokens.device
        place = torch.tensor([places[leader] for leader in leaders], device=device)
        sizes = place.bincount(minlength=parts * size)
        at = sizes.nonzero().flatten()
        each = torch.arange(parts * size, device=device).view(parts, size, 1)
        place = place.view(parts, 1, size)
        sums = [(place == some).to(self.tokens) @ self.tokens for some in each.split(ROWS, 1)]
        return torch.cat(sums, 1).flatten(0, 1)[at] / sizes[at, None], at


def spanning_tree(alike: np.ndarray[Any, Any]) -> list[tuple[float, int, int]]:
    """The edges of the maximum spanning tree: strength, lower end, higher end (Prim's algorithm).

    Args:
        alike: `[n, n]`, float32, symmetric: the strength of each edge.
    """
    import numpy as np

    size = len(alike)
    numbers = np.arange(size)
    # Of each token that the tree hasn't yet: its strongest edge to one that it has, and that one.
    strength, inner = alike[0].copy(), np.zeros_like(numbers)
    outside = numbers > 0
    edges = []
    for _ in range(size - 1):
        strongest = np.flatnonzero(outside & (strength == strength[outside].max()))
        ends = inner[strongest]
        lower, higher = np.minimum(ends, strongest), np.maximum(ends, strongest)
        first = (lower * size + higher).argmin()
        edges.append((float(strength[strongest[first]]), int(lower[first]), int(higher[first])))
        new = strongest[first]
        outside[new] = False
        row = alike[new]
        better = (row > strength) | ((row == strength) & (inner > new))
        strength[better], inner[better] = row[better], new
    return edges
