"""The radix tree against brute force, and that it forgets what it is told to forget."""

import random
from array import array

import numpy as np
import pytest

from localllm.inference.prefix_tree import Match, PrefixTree, Tokens, common_prefix
from tests.marks import slow


def shared_by(left: list[int], right: list[int]) -> int:
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    return count


def as_tokens(ids: list[int], source: random.Random) -> Tokens:
    return array("i", ids) if source.random() < 0.5 else np.array(ids, np.int32)


def inner(tree: PrefixTree[int]) -> tuple[int, int]:
    """Nodes below the root and tokens on edges, after a check of what every node must be."""
    nodes = list(tree._root.subtree(besides=None))[1:]
    for node in nodes:
        assert node.parent is not None
        assert node.parent.children[int(node.edge[0])] is node
        assert node.depth == node.parent.depth + len(node.edge)
        assert node.holders or len(node.children) > 1
        assert node.edge.base is None  # a view would keep what it is a view of
    return len(nodes), sum(len(node.edge) for node in nodes)


@pytest.mark.parametrize(
    ("left", "right", "shared"),
    [([], [1], 0), ([1, 2, 3], [1, 2, 3], 3), ([1, 2, 3], [1, 2], 2), ([1, 2, 3], [1, 9, 3], 1), ([5], [6], 0)],
)
def test_common_prefix(left: list[int], right: list[int], shared: int) -> None:
    assert common_prefix(array("i", left), np.array(right, np.int32)) == shared


def test_the_longest_comes_first_and_strangers_not_at_all() -> None:
    tree = PrefixTree[str]()
    tree.put("short", array("i", [1, 2]))
    tree.put("other", array("i", [1, 9, 9]))
    tree.put("long", array("i", [1, 2, 3, 4, 5]))
    tree.put("stranger", array("i", [7, 2, 3]))
    assert tree.longest(array("i", [1, 2, 3, 8])) == [Match("long", 3, 5), Match("short", 2, 2), Match("other", 1, 3)]
    assert tree.longest(array("i", [5])) == []
    assert tree.longest(array("i")) == []
    assert len(tree) == 4


def test_a_holder_holds_only_what_was_put_last() -> None:
    tree = PrefixTree[int]()
    tree.put(0, array("i", [1, 2, 3]))
    tree.put(0, array("i", [4]))
    assert tree.longest(array("i", [1, 2, 3])) == []
    assert tree.longest(array("i", [4, 5])) == [Match(0, 1, 1)]
    assert len(tree) == 1


def test_an_answer_continues_its_prompt_in_place() -> None:
    tree = PrefixTree[int]()
    prompt, answer = list(range(100)), list(range(1000, 1050))
    tree.put(0, array("i", prompt))
    tree.put(0, array("i", prompt + answer))
    assert inner(tree) == (1, 150)
    assert tree.longest(array("i", prompt + answer)) == [Match(0, 150, 150)]


def test_what_is_shared_is_stored_once() -> None:
    tree = PrefixTree[int]()
    for holder in range(10):
        tree.put(holder, array("i", [*range(500), 1000 + holder]))
    assert inner(tree) == (11, 510)


def test_a_holder_of_nothing_is_counted_and_never_found() -> None:
    tree = PrefixTree[int]()
    tree.put(0, array("i"))
    assert len(tree) == 1
    assert tree.longest(array("i", [1])) == []
    tree.put(0, array("i", [1]))
    assert tree.longest(array("i", [1])) == [Match(0, 1, 1)]
    tree.put(0, array("i"))
    assert tree.longest(array("i", [1])) == []
    assert inner(tree) == (0, 0)


def test_tokens_that_change_later_do_not_change_the_tree() -> None:
    tree = PrefixTree[int]()
    ids, more = array("i", [1, 2, 3]), np.array([1, 2, 4], np.int32)
    tree.put(0, ids)
    tree.put(1, more)
    ids.append(4)  # raises BufferError while somebody still looks into the array
    ids[0] = more[0] = 9
    assert tree.longest(array("i", [1, 2, 3])) == [Match(0, 3, 3), Match(1, 2, 3)]


def test_dropping_is_idempotent() -> None:
    tree = PrefixTree[int]()
    tree.put(0, array("i", [1]))
    tree.drop(0)
    tree.drop(0)
    tree.drop(1)
    assert len(tree) == 0
    assert inner(tree) == (0, 0)


def test_a_long_chain_of_nodes_needs_no_recursion() -> None:
    tree = PrefixTree[int]()
    ids = array("i", range(3000))
    for holder in reversed(range(3000)):
        tree.put(holder, ids[: holder + 1])
    found = tree.longest(ids)
    assert [match.holder for match in found] == list(range(2999, -1, -1))
    assert tree.longest(ids[:1])[0].tokens == 1
    assert len(tree.longest(ids[:1])) == 3000


@pytest.mark.parametrize("alphabet", [slow(1), 2, slow(3), 50])
@pytest.mark.parametrize("seed", [1, slow(2)])
def test_against_brute_force(alphabet: int, seed: int) -> None:
    source = random.Random(seed)
    tree, held = PrefixTree[int](), dict[int, list[int]]()
    for _ in range(3000):
        holder, action = source.randrange(12), source.random()
        if action < 0.3:
            held.pop(holder, None)
            tree.drop(holder)
        else:
            kept = held.get(holder, []) if action < 0.5 else []  # a continuation, or something else altogether
            if action > 0.8 and held:
                other = held[source.choice(list(held))]
                kept = other[: source.randrange(len(other) + 1)]
            held[holder] = kept[:40] + [source.randrange(alphabet) for _ in range(source.randrange(8))]
            tree.put(holder, as_tokens(held[holder], source))
        asked = [source.randrange(alphabet) for _ in range(source.randrange(10))]
        if held and source.random() < 0.5:
            asked = source.choice(list(held.values())) + asked
        found = tree.longest(as_tokens(asked, source))
        expected = [(h, shared_by(ids, asked), len(ids)) for h, ids in held.items() if shared_by(ids, asked)]
        assert sorted((m.holder, m.tokens, m.held) for m in found) == sorted(expected)
        assert [m.tokens for m in found] == sorted((m.tokens for m in found), reverse=True)
        assert len(tree) == len(held)
        assert inner(tree)[0] <= max(0, 2 * len(held) - 1)
    for holder in held:
        tree.drop(holder)
    assert len(tree) == 0
    assert inner(tree) == (0, 0)
