"""A radix tree over token ids: which cached prompts begin like this one, and for how long."""

from array import array
from collections.abc import Hashable, Iterator
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

H = TypeVar("H", bound=Hashable)
Tokens: TypeAlias = "array[int] | NDArray[np.int32]"


class Match(Struct, Generic[H], frozen=True):
    """`holder` holds `held` tokens, of which the first `tokens` are those that were asked for."""

    holder: H
    tokens: int
    held: int


class PrefixTree(Generic[H]):
    """Token sequences, each held by somebody: a slot, a file. What they share from the start is stored once.

    A radix tree (Morrison 1968, "PATRICIA"; for KV caches: Zheng et al. 2023, "SGLang"). Every node but the root
    has a holder or at least two children, so there are fewer than twice as many nodes as holders.
    """

    def __init__(self) -> None:
        self._root: _Node[H] = _Node(None, np.zeros(0, np.int32))
        self._nodes: dict[H, _Node[H]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def put(self, holder: H, tokens: Tokens) -> None:
        """From now on `holder` holds exactly `tokens`, int32 [n], which are copied where they are new here.

        One pass of comparing over the tokens; those that only continue what the holder held add an edge.
        """
        wanted = np.asarray(tokens, np.int32)
        node, shared = self._descend(wanted)
        if shared < node.depth:
            node = node.split(shared - node.start)
        if shared < len(wanted):
            node = node.grow(wanted[shared:])
        before = self._nodes.get(holder)
        if before is not node:
            node.holders[holder] = None
            self._nodes[holder] = node
            if before is not None:
                del before.holders[holder]
                before.tidy()

    def drop(self, holder: H) -> None:
        """Forget a holder and what it alone held; idempotent."""
        node = self._nodes.pop(holder, None)
        if node is not None:
            del node.holders[holder]
            node.tidy()

    def longest(self, tokens: Tokens) -> "list[Match[H]]":
        """Every holder that shares at least one first token with `tokens`, int32 [n]; who shares most comes first.

        One pass of comparing over the tokens, and then over the holders that share something.
        """
        node, shared = self._descend(np.asarray(tokens, np.int32))
        found: list[Match[H]] = []
        came_from: _Node[H] | None = None
        while shared:  # at the root nothing is shared
            for below in node.subtree(besides=came_from):
                found.extend(Match(holder, shared, below.depth) for holder in below.holders)
            shared = node.start
            came_from = node
            if node.parent is None:
                break
            node = node.parent
        return found

    def _descend(self, tokens: NDArray[np.int32]) -> "tuple[_Node[H], int]":
        """The last node whose edge the tokens enter, and how many of them the tree holds in one piece."""
        node, shared = self._root, 0
        while shared == node.depth and shared < len(tokens):
            child = node.children.get(int(tokens[shared]))
            if child is None:
                break
            node = child
            shared += common_prefix(node.edge, tokens[shared:])
        return node, shared


class _Node(Generic[H]):
    """Where an edge ends: `edge` are the int32 tokens from the parent to here, `depth` those from the root."""

    __slots__ = ("children", "depth", "edge", "holders", "parent")

    def __init__(self, parent: "_Node[H] | None", edge: NDArray[np.int32]) -> None:
        self.parent = parent
        self.edge = edge
        self.depth: int = len(edge) + (parent.depth if parent else 0)
        self.children: dict[int, _Node[H]] = {}  # by the first token of their edges
        self.holders: dict[H, None] = {}  # a set that keeps its order

    @property
    def start(self) -> int:
        """Tokens from the root to where the edge begins."""
        return self.depth - len(self.edge)

    def grow(self, edge: NDArray[np.int32]) -> "_Node[H]":
        """A new child. The edge is copied: a view would keep the whole prompt in memory."""
        child = _Node(self, edge.copy())
        self.children[int(edge[0])] = child
        return child

    def split(self, at: int) -> "_Node[H]":
        """Put a node into the edge after `at` of its tokens, and return it. This one stays the lower."""
        parent, edge = self.parent, self.edge
        upper = _Node(parent, edge[:at].copy())
        if parent is not None:
            parent.children[int(edge[0])] = upper
        self._hang(upper, edge[at:].copy())
        return upper

    def tidy(self) -> None:
        """Take away nodes that nobody needs, from here upwards."""
        node = self
        while node.parent is not None and not node.holders and not node.children:
            parent = node.parent
            del parent.children[int(node.edge[0])]
            node = parent
        if node.parent is not None and not node.holders and len(node.children) == 1:
            (child,) = node.children.values()
            child._hang(node.parent, np.concatenate((node.edge, child.edge)))

    def subtree(self, besides: "_Node[H] | None") -> "Iterator[_Node[H]]":
        """The node and all below it, without the branch of one child. No recursion: chains can be long."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(child for child in node.children.values() if child is not besides)

    def _hang(self, parent: "_Node[H]", edge: NDArray[np.int32]) -> None:
        self.parent = parent
        self.edge = edge
        parent.children[int(edge[0])] = self


def common_prefix(left: Tokens, right: Tokens) -> int:
    """How many tokens two int32 arrays share from the start."""
    a, b = np.asarray(left, np.int32), np.asarray(right, np.int32)
    size = min(len(a), len(b))
    if size == 0:
        return 0
    differs = a[:size] != b[:size]
    first = int(differs.argmax())
    return first if differs[first] else size
