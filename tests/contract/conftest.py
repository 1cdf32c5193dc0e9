"""What the tests of requests share."""

from collections.abc import Iterator

import pytest

from tests.contract.house import Front
from tests.contract.test_golden import front
from tests.fakes import FakeBackend


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The front of this module."""
    backend = FakeBackend()
    folder = tmp_path_factory.mktemp("front")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUTCH_HOME", str(folder))
        with front(folder, backend) as client:
            yield Front(client, backend)
