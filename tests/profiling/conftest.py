"""What is estimated here is compared with real pipelines, which read prompts of full length."""

import pytest
from support.contexts import with_full_contexts


@pytest.fixture(autouse=True)
def full_contexts(monkeypatch):
    with_full_contexts(monkeypatch)
