"""STTM: a quadtree over each frame, whose nodes are merged over time."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import Budgeted, MergeThreshold
from dycoke_cli.compression.method import Selection, SelectionInputs
from dycoke_cli.compression.similar import LinkedGroups, cosine_similarity, sides, wide
from dycoke_cli.lazy_torch import F, torch


@dataclass(frozen=True)
class STTM(Budgeted):
    """Spatio-temporal token merging (arXiv 2507.07990, ICCV 2025): quadtrees, merged over time.

    In space: four tokens (of an odd side the first row or column alone) are a node, four nodes one
    of the next level, and so on while both sides have more than two nodes; a node is the mean of
    its children. From the largest nodes down, one stays whole where all its children have a cosine
    similarity with it of τ or more, and is split otherwise.

    In time: of two consecutive frames, a node that contains one of the other frame, or is contained
    in it, is linked to it where their cosine similarity is `merge_threshold` or more. All that are
    linked, over any number of frames, become the mean of their nodes, at the place of the first
    token of the first.

    The budget decides τ, by bisection: the lowest of 0, .01, … 1 with which no fewer tokens than
    the budget are left; where there is none, nothing is merged in space. Links are then made from
    the most similar pair down, whatever its similarity, until the budget is left. Where links run
    out, as in a single frame, tokens are merged with the one before them in reading order, the most
    similar first. Ties go to the lower index.

    Differs from the authors' code (commit 00736c7) in that: theirs has both thresholds by hand for
    each model, benchmark and budget, and what is left depends on the video. It merges behind layer
    2 of the language model, whose states these are there (for LLaVA-OneVision with τ of .85 to .95,
    and .55 to .65 over time), and closes the gaps in the positions; here it is before the language
    model, as all methods of a table. There its scripts merge with LLaVA-Video-72B alone: .9 for
    both at 30 %, which is the default here, and .94 and .82 at 50 %. A node with fewer than four
    children is compared with these, where theirs compares it with the frame's first token, too. A
    grid of four tokens a side has one level here, and none there. The paper's directed merging, by
    which a node goes to one of the frame before alone, is an option of that code, off in its
    scripts. Its search for what is linked may end a round early, which leaves a few tokens more.
    """

    name: ClassVar[str] = "sttm"
    title: ClassVar[str] = "STTM"
    summary: ClassVar[str] = "quadtrees of frames, merged over time"
    paper: ClassVar[str | None] = "arXiv 2507.07990, ICCV 2025"

    merge_threshold: MergeThreshold = 0.9

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The means of what is linked."""
        features = inputs.features
        tree = _Tree(features)
        count = self.kept_tokens(*features.shape[:2])
        tau = bisect_left(range(101), count, key=lambda hundredth: self._left(tree, hundredth))
        nodes = tree.nodes(tau / 100)
        order = nodes.alike.argsort(descending=True, stable=True)
        groups = LinkedGroups(nodes.node.tolist())
        groups.unite(nodes.pairs[order].tolist(), count)
        merged = tree.means(features, nodes, groups)
        if len(groups) > count:
            leaders = groups.leaders()
            order = cosine_similarity(merged[1:], merged[:-1]).argsort(descending=True, stable=True)
            groups.unite(((leaders[i], leaders[i + 1]) for i in order.tolist()), count)
            merged = tree.means(features, nodes, groups)
        into = torch.tensor(groups.of_each(), device=features.device)
        return Selection(into.unique(), merged, into)

    def _left(self, tree: _Tree, hundredth: int) -> int:
        """How many tokens are left at a τ, in hundredths."""
        nodes = tree.nodes(hundredth / 100)
        groups = LinkedGroups(nodes.node.tolist())
        groups.unite(nodes.pairs[nodes.alike >= self.merge_threshold].tolist())
        return len(groups)


@dataclass(frozen=True)
class _Nodes:
    """The nodes of all frames at one τ.

    Args:
        node: `[F*N]`, int64: of each token the first one of its node.
        index: `[F, N]`, int64: the number of its node among all of a frame (`_Tree`).
        pairs: `[P, 2]`, int64: nodes of consecutive frames, one within the other.
        alike: `[P]`, float32: how alike they are.
    """

    node: torch.Tensor
    index: torch.Tensor
    pairs: torch.Tensor
    alike: torch.Tensor


class _Tree:
    """The similarities by which nodes of any τ are chosen and linked.

    Args:
        features: `[F, N, D]`, float.
    """

    def __init__(self, features: torch.Tensor) -> None:
        self.frames, self.per_frame = features.shape[:2]
        cells, pooling, parents = (x.to(features.device) for x in quadtree(self.per_frame))
        self.cells, self.pooling = cells, pooling.to(wide(features[:0]))
        children = torch.arange(len(parents), device=parents.device)
        levels = len(cells)
        # Of each token's node at each level the least similar child; and at each two levels its
        # similarity with the node of the frame before. A frame at a time: all nodes are large.
        self.least = torch.empty(self.frames, levels, self.per_frame, device=features.device)
        self.over_time = torch.empty(
            self.frames - 1, levels, levels, self.per_frame, device=features.device
        )
        before = None
        for number, frame in enumerate(features):
            now = F.normalize(self.pooling @ wide(frame), dim=-1)
            alike = (now[children] * now[parents]).sum(-1).float()
            least = torch.full((len(now),), torch.inf, device=now.device)
            self.least[number] = least.scatter_reduce(0, parents, alike, "amin")[cells]
            if before is not None:
                both = (now @ before.T).float()
                self.over_time[number - 1] = both[cells[:, None], cells]
            before = now
        # The first token of each token's node at each level.
        first = torch.full((len(self.pooling),), self.per_frame, device=cells.device)
        positions = torch.arange(self.per_frame, device=cells.device).expand_as(cells)
        self.first = first.scatter_reduce(0, cells.flatten(), positions.flatten(), "amin")[cells]

    def nodes(self, tau: float) -> _Nodes:
        """The nodes that are whole at a τ, the largest ones first."""
        level = torch.zeros_like(self.least[:, 0], dtype=torch.int64)
        for number in range(1, len(self.cells)):
            level[self.least[:, number] >= tau] = number
        position = torch.arange(self.per_frame, device=level.device)
        frame = torch.arange(self.frames, device=level.device)[:, None]
        node = frame * self.per_frame + self.first[level, position]
        # Of two nodes one within the other, the smaller one names the pair by its first token.
        smaller = torch.minimum(level[1:], level[:-1])
        at = self.first[smaller, position] == position
        alike = self.over_time[frame[:-1], level[1:], level[:-1], position]
        pairs = torch.stack([node[:-1][at], node[1:][at]], dim=-1)
        return _Nodes(node.flatten(), self.cells[level, position], pairs, alike[at])

    def means(self, features: torch.Tensor, nodes: _Nodes, groups: LinkedGroups) -> torch.Tensor:
        """The mean of each group's nodes, `[G, D]`, in the widest dtype, by rising leader."""
        leaders, of_token = torch.tensor(groups.of_each(), device=features.device).unique(
            return_inverse=True
        )
        sums = self.pooling.new_zeros(len(leaders), features.shape[-1])
        counts = self.pooling.new_zeros(len(leaders), 1)
        each = torch.arange(len(nodes.node), device=features.device)
        is_first = (nodes.node == each).view(self.frames, self.per_frame)
        of_token = of_token.view(self.frames, self.per_frame)
        for number, frame in enumerate(features):
            at = is_first[number]
            here, owner = of_token[number, at].unique(return_inverse=True)
            # A product, since adding by index has no fixed order on an accelerator.
            member = torch.arange(len(here), device=here.device)[:, None] == owner
            member = member.to(self.pooling)
            sums[here] += member @ (self.pooling[nodes.index[number, at]] @ wide(frame))
            counts[here] += member.sum(-1, keepdim=True)
        return sums / counts


def quadtree(per_frame: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The nodes of a frame's grid, those of all levels in one row, single tokens first.

    Args:
        per_frame: N.

    Returns:
        `[L, N]`, int64: the node that each token is in at each level. `[nodes, N]`, float64: the
        weight of each token in each node's mean. `[nodes below the last level]`, int64: parents.
    """
    height, width = sides(per_frame)
    cell = torch.arange(per_frame)
    row, column = cell // width, cell % width
    cells, pooling, parents = [cell], [torch.eye(per_frame, dtype=torch.float64)], []
    while len(cells) == 1 or min(height, width) > 4:
        row, column = (row + height % 2) // 2, (column + width % 2) // 2
        height, width = -(-height // 2), -(-width // 2)
        above = row * width + column
        parent = torch.empty(len(pooling[-1]), dtype=torch.int64)
        parent[cell] = above
        member = (parent == torch.arange(height * width)[:, None]).double()
        nodes = sum(map(len, pooling))
        cells.append(nodes + above)
        parents.append(nodes + parent)
        pooling.append(member / member.sum(-1, keepdim=True) @ pooling[-1])
        cell = above
    return torch.stack(cells), torch.cat(pooling), torch.cat(parents)
