"""The one tree of errors."""

import pytest

from localllm import errors
from localllm.cli.exits import exit_code


def tree(root: type[errors.LocalLLMError]) -> list[type[errors.LocalLLMError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in tree(child))]


KINDS = tree(errors.LocalLLMError)


def test_codes_are_unique() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_a_process_boundary(kind: type[errors.LocalLLMError]) -> None:
    rebuilt = errors.from_code(kind.code, "words", "field")
    assert type(rebuilt) is kind
    assert (rebuilt.message, rebuilt.param, str(rebuilt)) == ("words", "field", "words")


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_an_exit_code_that_is_no_success(kind: type[errors.LocalLLMError]) -> None:
    assert exit_code(kind("words")) in range(1, 7)


def test_an_unknown_code_is_still_an_error_of_ours() -> None:
    assert type(errors.from_code("from_the_future", "words")) is errors.LocalLLMError
