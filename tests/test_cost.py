"""What a run costs, span by span."""

from pathlib import Path

import pytest
import torch

from unconcept.cost import forget_peak, peak_memory


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="of the host's memory, Linux alone forgets the peak")
def test_memory_is_that_of_a_span():
    """200 MB are held in a first span and 10 MB in a second, which does not inherit them."""

    def needed(megabytes: int) -> int:
        forget_peak()
        torch.ones(megabytes * 250_000)
        return peak_memory()

    assert needed(200) - needed(10) == pytest.approx(190e6, rel=0.1)


def test_a_card_is_asked_where_one_is_in_use(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: asked.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7)
    forget_peak()
    assert (asked, peak_memory()) == (["reset"], 7)
