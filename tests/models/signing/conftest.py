"""A publisher, where the packages of the extra `signing` are installed."""

import pytest

from tests.models.signing.publisher import Publisher


@pytest.fixture(scope="session")
def model_signing() -> None:
    """Skips where the extra is not installed."""
    pytest.importorskip("model_signing", reason="needs the extra: pip install 'localllm[signing]'")


@pytest.fixture(scope="session")
def publisher(model_signing: None, tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """Whom the user trusts."""
    return Publisher(tmp_path_factory.mktemp("signing") / "publisher")


@pytest.fixture(scope="session")
def stranger(model_signing: None, tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """Whom the user does not know."""
    return Publisher(tmp_path_factory.mktemp("signing") / "stranger")


@pytest.fixture(scope="session")
def signature(publisher: Publisher) -> bytes:
    """The publisher's for CONTENTS."""
    return publisher.sign()
