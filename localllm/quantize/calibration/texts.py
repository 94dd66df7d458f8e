"""Texts to calibrate with and to evaluate on: the user's own, or the help topics that every Python brings along."""

import functools
import hashlib
import importlib
import os
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from localllm.errors import InvalidRequest
from localllm.models.files import open_regular
from localllm.models.reference import shown
from localllm.units import size_words

DEFAULT, NONE = "default", "none"
MOST_TEXT_BYTES = 16 * 2**20  # a hundred times what calibrating ever reads

_TOPICS = "pydoc_data.topics"
_EVALUATION_TOPICS = slice(3, None, 4)  # every fourth, by name: 67 of 465 kB in Python 3.11
_CALIBRATION_QUARTERS = 3  # of a file that must do for both
_PARAGRAPH_END = "\n\n"
_CALIBRATE, _EVALUATE = "calibrate", "text"  # the options at fault


class Text(Struct, frozen=True, kw_only=True):
    """A text and where it is from."""

    name: str  # "default", or of a file
    text: str
    sha256: str  # of its UTF-8
    recipe: str  # how to come by it again, in words


def calibration_text(choice: str) -> Text | None:
    """What `--calibrate` means: `default`, `none`, or a path. Raises InvalidRequest for a file that will not do."""
    if choice == NONE:
        return None
    return _default_texts(_CALIBRATE)[0] if choice == DEFAULT else _of_file(choice, _CALIBRATE)


def evaluation_text(choice: str) -> Text:
    """What is evaluated on: `default`, or a path. Nothing in the default one is in the default calibration text.

    Raises InvalidRequest for a file that will not do.
    """
    return _default_texts(_EVALUATE)[1] if choice == DEFAULT else _of_file(choice, _EVALUATE)


def both_texts(calibration: str, evaluation: str) -> tuple[Text | None, Text]:
    """The text to calibrate with and the one to evaluate on; see the functions above.

    A model that was calibrated with a text seems better on it than it is. So a file that is named for both is cut: its
    first three quarters are for calibration, the last one for evaluation.
    """
    first, second = calibration_text(calibration), evaluation_text(evaluation)
    if first is None or first.sha256 != second.sha256:
        return first, second
    cut = _line_end(first.text, len(first.text) * _CALIBRATION_QUARTERS // 4)
    name = first.name
    return (
        _text(f"{name}, first three quarters", first.text[:cut], f"the first {cut} characters of {name}"),
        _text(f"{name}, last quarter", first.text[cut:], f"{name} without its first {cut} characters"),
    )


def read_text(path: Path, option: str) -> str:
    """A regular file of UTF-8. Raises InvalidRequest, with `option` at fault, for any other, and for an empty one."""
    raw = _read(path, option)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        place = f"byte {error.start} is 0x{raw[error.start]:02x}"
        raise InvalidRequest(f"{shown(path)} is not UTF-8 ({place}); save it as UTF-8", param=option) from error
    if not text.strip():
        raise InvalidRequest(f"{shown(path)} is empty; name a file with text in it", param=option)
    return text


def _of_file(choice: str, option: str) -> Text:
    path = Path(choice).expanduser()
    return _text(path.name, read_text(path, option), f"the file {path.name}")


def _read(path: Path, option: str) -> bytes:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            raw = file.read(MOST_TEXT_BYTES + 1)
    except (OSError, ValueError) as error:  # what is no regular file among them; ValueError: NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise InvalidRequest(
            f"cannot read the text {shown(path)}: {reason}; name a file of text, or {DEFAULT}", param=option
        ) from error
    if len(raw) > MOST_TEXT_BYTES:
        most = size_words(MOST_TEXT_BYTES)
        raise InvalidRequest(f"{shown(path)} is longer than {most}, which is plenty; name a part of it", param=option)
    return raw


@functools.cache
def _topics() -> dict[str, str] | None:
    """The help topics by name; None where this Python has been stripped of them."""
    try:
        topics: dict[str, str] = importlib.import_module(_TOPICS).topics
    except ImportError:
        return None
    return topics


@functools.cache
def _default_texts(option: str) -> tuple[Text, Text]:
    """For calibration, and for evaluation. One topic may be a part of another, so paragraphs tell what is new."""
    topics = _topics()
    if topics is None:
        raise InvalidRequest(f"this Python has no {_TOPICS}, which is the default text; name a text file", param=option)
    names = sorted(topics)
    kept_back = names[_EVALUATION_TOPICS]
    known: set[str] = set()
    evaluation = list(_new_paragraphs((topics[name] for name in kept_back), known))
    calibration = list(_new_paragraphs((topics[name] for name in names if name not in kept_back), known))
    source = f"{_TOPICS} of Python {platform.python_version()}, by name"
    return (
        _text(DEFAULT, _joined(calibration), f"{source}, without every fourth topic and what stands there"),
        _text(DEFAULT, _joined(evaluation), f"{source}, every fourth topic"),
    )


def _new_paragraphs(texts: Iterable[str], known: set[str]) -> Iterator[str]:
    """The paragraphs that are not known, which they then are; how they are indented makes no difference."""
    for paragraph in (paragraph for text in texts for paragraph in text.split(_PARAGRAPH_END)):
        words = " ".join(paragraph.split())
        if words and words not in known:
            known.add(words)
            yield paragraph.strip("\n")


def _joined(paragraphs: Iterable[str]) -> str:
    return _PARAGRAPH_END.join(paragraphs) + "\n"


def _text(name: str, text: str, recipe: str) -> Text:
    return Text(name=name, text=text, sha256=hashlib.sha256(text.encode("utf-8")).hexdigest(), recipe=recipe)


def _line_end(text: str, place: int) -> int:
    """Where the line that `place` is in ends; `place` itself in the last line."""
    end = text.find("\n", place)
    return place if end < 0 or end + 1 == len(text) else end + 1
