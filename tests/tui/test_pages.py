"""Cutting an answer into pages."""

import random
import re

from localllm.tui.pages import MOST_MARKDOWN_LINES, MOST_PLAIN_LINES, MOST_PROSE_LINES, Paginator
from tests.tui.cuts import random_cuts, random_text

LINES = [
    *(
        "A line of prose.\n",
        "\n",
        "\n\n",
        "# Heading\n",
        "**bold** text\n",
        "> quote\n",
        "| a | b |\n",
        "---\n",
        "  \n",
    ),
    *("- bullet\n", "* star\n", "1. one\n", "2. two\n", "7) seven\n", "  - nested\n", "   more of it\n", "-\n", "1.\n"),
    *("```\n", "```python\n", "~~~\n", "````\n", "``` x\n", "```inline``` code\n", "  ```\n", "    1. code\n", "end"),
]


def pages(parts: list[str]) -> list[tuple[str, str]]:
    """The kind and the text of every page."""
    paginator = Paginator()
    pieces = [piece for part in parts for piece in paginator.feed(part)] + paginator.finish()
    found: list[tuple[str, str]] = []
    for piece in pieces:
        if piece.is_new:
            found.append((piece.kind, piece.text))
        else:
            kind, text = found[-1]
            assert kind == piece.kind
            found[-1] = (kind, text + piece.text)
    return found


def unnumbered(text: str) -> str:
    return re.sub(r"^\d+(?=[.)])", "N", text, flags=re.MULTILINE)


def test_prose_is_one_page() -> None:
    text = "# Title\n\nA paragraph\nof two lines.\n\nAnother.\n"
    assert pages([text]) == [("prose", text)]


def test_every_item_of_an_outermost_list_is_a_page() -> None:
    text = "Fruits:\n- apple\n  - red\n  - green\n- pear\n\n  still pear\n\nDone.\n"
    assert pages([text]) == [
        ("prose", "Fruits:\n"),
        ("item", "- apple\n  - red\n  - green\n"),
        ("item", "- pear\n\n  still pear\n\n"),
        ("prose", "Done.\n"),
    ]


def test_items_are_counted_on_from_the_first() -> None:
    text = "3. a\n3. b\n9. c\n\nprose\n\n1. d\n1. e\n"
    assert [page for _, page in pages([text])] == ["3. a\n", "4. b\n", "5. c\n\n", "prose\n\n", "1. d\n", "2. e\n"]


def test_a_number_in_running_text_begins_no_list() -> None:
    text = "It was in\n1984. Nothing else happened.\n"
    assert pages([text]) == [("prose", text)]


def test_a_code_block_is_never_cut() -> None:
    code = "```python\n- x\n\n1. y\n" + "print()\n\n" * MOST_PROSE_LINES + "```\n"
    assert pages([code]) == [("prose", code)]


def test_a_shorter_or_other_fence_ends_no_code_block() -> None:
    for inner in ("```", "~~~~", "```` x"):
        code = f"````\n{inner}\n- not an item\n````\n"
        assert pages([f"{code}- item\n"]) == [("prose", code), ("item", "- item\n")]


def test_inline_code_of_three_marks_begins_no_code_block() -> None:
    assert pages(["```so```\n- item\n"]) == [("prose", "```so```\n"), ("item", "- item\n")]


def test_code_inside_an_item_stays_in_it() -> None:
    item = "1. Run:\n\n   ```sh\n1. ls\n   ```\n"
    assert pages([item, "2. Next\n"]) == [("item", item), ("item", "2. Next\n")]


def test_long_prose_goes_on_on_a_new_page_at_a_blank_line() -> None:
    paragraph = "line\n" * MOST_PROSE_LINES
    assert pages([f"{paragraph}more\n\nnext\n"]) == [("prose", f"{paragraph}more\n\n"), ("prose", "next\n")]


def test_a_runaway_answer_ends_as_plain_pages_of_bounded_length() -> None:
    found = pages(["- item\n" * MOST_MARKDOWN_LINES + "- more\n" * (MOST_PLAIN_LINES * 2 + 1)])
    assert [kind for kind, _ in found[:MOST_MARKDOWN_LINES]] == ["item"] * MOST_MARKDOWN_LINES
    assert [(kind, text.count("\n")) for kind, text in found[MOST_MARKDOWN_LINES:]] == [
        ("plain", MOST_PLAIN_LINES),
        ("plain", MOST_PLAIN_LINES),
        ("plain", 1),
    ]


def test_nothing_is_lost_and_only_numbers_change() -> None:
    for seed in range(500):
        text = random_text(random.Random(seed), LINES, 40)
        assert unnumbered("".join(page for _, page in pages([text]))) == unnumbered(text), seed


def test_the_pages_do_not_depend_on_where_the_text_is_cut() -> None:
    for seed in range(500):
        chance = random.Random(seed)
        text = random_text(chance, LINES, 40)
        assert pages(random_cuts(chance, text)) == pages([text]), (seed, text)


def test_running_text_is_not_held_back() -> None:
    paginator = Paginator()
    assert [piece.text for part in ("Hel", "lo *you", "* `") for piece in paginator.feed(part)] == [
        "Hel",
        "lo *you",
        "* `",
    ]
