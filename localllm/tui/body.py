"""The text of one answer: streaming Markdown, drawn page by page."""

from markdown_it import MarkdownIt
from textual.containers import VerticalGroup
from textual.widgets import Markdown, Static

from localllm.tui.pages import Paginator, Piece
from localllm.tui.text import Cleaner


class Body(VerticalGroup):
    """Shows model text as it comes, made safe on the way."""

    def __init__(self) -> None:
        super().__init__()
        self._cleaner = Cleaner()
        self._paginator = Paginator()

    async def append(self, text: str) -> None:
        """Show more text."""
        await self._show(self._paginator.feed(self._cleaner.feed(text)))

    async def finish(self) -> None:
        """Show what was held back because it could have become something else."""
        await self._show(self._paginator.feed(self._cleaner.finish()) + self._paginator.finish())

    async def _show(self, pieces: list[Piece]) -> None:
        for piece in _joined(pieces):
            if not self.is_attached:  # the chat was cleared, or the app is closing
                return
            if piece.is_new or not self.children:
                await self.mount(self._page(piece))
            page = self.children[-1]
            if isinstance(page, MarkdownPage):
                await page.append(piece.text)
            elif isinstance(page, PlainPage):
                page.append(piece.text)

    def _page(self, piece: Piece) -> "MarkdownPage | PlainPage":
        if piece.kind == "plain":
            return PlainPage()
        page = MarkdownPage(is_item=piece.kind == "item")
        before = self.children[-1] if self.children else None
        page.set_class(isinstance(before, MarkdownPage) and before.is_item and not page.is_item, "-after-list")
        return page

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        """Open web links alone: a model's text may name anything."""
        event.stop()
        if event.href.startswith(("http://", "https://")):
            self.app.open_url(event.href)


class MarkdownPage(Markdown):
    """Some blocks of an answer, or one item of a list."""

    def __init__(self, *, is_item: bool) -> None:
        super().__init__(parser_factory=_parser, open_links=False, classes="-item" if is_item else None)
        self.is_item = is_item


class PlainPage(Static):
    """Text shown as it is."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._text = ""

    def append(self, text: str) -> None:
        """Show more text."""
        self._text += text
        self.update(self._text.removesuffix("\n"))


def _parser() -> MarkdownIt:
    return MarkdownIt("gfm-like", {"html": False})  # Textual leaves HTML out in silence; so it stays text


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Pieces of the same page in one."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and not piece.is_new:
            joined[-1] = joined[-1]._replace(text=joined[-1].text + piece.text)
        else:
            joined.append(piece)
    return joined
