"""What tests of a served page share; each module has a page of its own, ``served``."""

from collections.abc import Iterator

import pytest
from gradio_client import Client

from tests.support.fakes import Served
from tests.support.page_client import PageClient


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    """A program that talks to the module's page; nothing of it is left afterwards."""
    client = PageClient(served.url)
    yield client
    client.close()
    served.wait_until_empty()


@pytest.fixture(scope="module")
def caller(served: Served) -> Iterator[Client]:
    """A program that the tests of a module share, for calls that start nothing."""
    client = PageClient(served.url)
    yield client
    client.close()
