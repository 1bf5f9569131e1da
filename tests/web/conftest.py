"""What tests of a served page share; each module has a page of its own, ``served``."""

from collections.abc import Iterator

import pytest
from gradio_client import Client

from tests.support.fakes import PATIENT, Served


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    """A program that talks to the module's page; nothing of it is left afterwards."""
    client = Client(served.url, verbose=False, httpx_kwargs=PATIENT)
    yield client
    client.close()
    served.wait_until_empty()
