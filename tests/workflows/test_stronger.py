"""`erase` tries again with stronger settings before it says that it failed."""

import pytest
import torch

from unconcept import AllButOne
from unconcept.evaluation.runner import Evaluation
from unconcept.evaluation.scores import Scores
from unconcept.methods.uce import UCE
from unconcept.workflows.erasure import stronger_method


def test_what_all_but_one_tries_next():
    """First a closed form that holds retained prompts less, then the loss besides, then nothing."""
    first = AllButOne()
    second = first.stronger()
    third = second.stronger()
    assert second.closed.lam == first.closed.lam / 4
    assert not second.trains
    assert third.trains
    assert third.stronger() is None
    assert AllButOne(start="none").stronger() is None


@pytest.mark.parametrize(("gain", "again"), [(0.0, True), (0.5, False)])
def test_only_too_little_is_tried_again(monkeypatch, gain, again):
    failure = None if gain else "no-op: the images of the concept are nearly the same as before"
    monkeypatch.setattr("unconcept.workflows.erasure.detect_failure", lambda *args: failure)
    images = torch.zeros(1, 3, 8, 8)
    evaluation = Evaluation(Scores([]), images, images)
    assert (stronger_method(AllButOne(), evaluation) is not None) == again
    assert stronger_method(UCE(), evaluation) is None, "a method without stronger settings"
