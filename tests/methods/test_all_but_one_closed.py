"""All But One by its closed form alone: what it holds exactly, and what it costs."""

import pytest
import torch
from support.tiny_pipelines import tiny_3, tiny_pipeline

from unconcept import AllButOne, Concept, wrap
from unconcept.training.prompt_states import prompt_readers, states_of, weight_of

PIG = Concept(erase="pig", alternative="cow")


@pytest.mark.parametrize("concepts", [(PIG,), (PIG, Concept(erase="bomb"))])
def test_the_empty_prompt_stays_exactly(concepts):
    """The states of ∅ come out of every edited matrix as they did, and the unconditional prediction
    with them.
    """
    model = wrap(tiny_pipeline(), ("cat", "dog", "tree"))
    edit = AllButOne()(model, *concepts)
    null = states_of(model, model.prompt_states_key, model.encode([""]))[0]
    for site in prompt_readers(model):
        change = null @ edit.deltas[site.name].double().T
        assert change.norm() < 1e-5 * (null @ weight_of(model, site).T).norm()
    x, t = torch.randn(2, *model.latent_shape), torch.tensor([20, 900])
    before = model.predict(x, t, model.encode(["", ""]))
    with edit.on(model):
        assert torch.allclose(model.predict(x, t, model.encode(["", ""])), before, atol=1e-5)


def test_pooled_states_are_mapped_too():
    """On a transformer the pooled state of the concept moves towards that of the alternative."""
    model = wrap(tiny_3(), ("cat", "dog", "tree"))
    edit = AllButOne()(model, PIG)
    names = {site.reads: site.name for site in prompt_readers(model)}
    assert set(edit.card["closed_form"]) == set(names)
    assert len(names) == 2


def test_no_network_call_is_made():
    model = wrap(tiny_pipeline(), ("cat", "dog"))
    model.predict = None
    edit = AllButOne()(model, PIG)
    assert edit.card["training"]["steps"] == 0
