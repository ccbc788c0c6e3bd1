"""What a run costs, span by span."""

from pathlib import Path

import pytest
import torch
from support.tiny_pipelines import tiny_flux

from unconcept import Concept, Edit, wrap
from unconcept.methods.negative_prompt import NegativePrompt
from unconcept.methods.sld import SLD
from unconcept.models.interface import Sampling
from unconcept.profiling.usage import calls_per_image, count_calls, peak_memory, reset_peak_memory


@pytest.mark.parametrize(
    ("make", "calls"), [(lambda *_: Edit({}), 2), (NegativePrompt(), 3), (SLD(), 4)]
)
def test_what_an_image_takes(model, make, calls):
    """Guidance asks twice a step; the methods that change it ask for the concept, and for ε(∅)
    where they have not heard it.
    """
    edit = make(model, Concept(erase="pig"))
    assert calls_per_image(model, edit, Sampling(steps=7, guidance=3.0)) == 7 * calls
    with edit.on(model), count_calls(model) as all_of_it:
        model.sample(["a cat"], [0], Sampling(steps=7, guidance=3.0))
    assert all_of_it["n"] == 7 * calls
    assert "forward" not in vars(model.denoiser), "nothing is left of the counting"


def test_what_a_distilled_model_takes():
    assert calls_per_image(wrap(tiny_flux(), ()), Edit({}), Sampling(4, 3.5)) == 4


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="of the host's memory, Linux alone forgets the peak",
)
def test_memory_is_that_of_a_span():
    """200 MB are held in a first span and 10 MB in a second, which does not inherit them."""

    def needed(megabytes: int) -> int:
        reset_peak_memory()
        torch.ones(megabytes * 250_000)
        return peak_memory()

    assert needed(200) - needed(10) == pytest.approx(190e6, rel=0.1)


def test_a_gpu_is_read_where_one_is_in_use(monkeypatch):
    requests = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: requests.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7)
    reset_peak_memory()
    assert (requests, peak_memory()) == (["reset"], 7)
