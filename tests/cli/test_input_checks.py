"""Words, names and paths that are nearly right."""

import pytest

from unconcept import Concept, InputError
from unconcept.cli.input_checks import EMBEDDED, check_concepts, check_edit, check_model, check_path
from unconcept.cli.suggestions import edit_distance, misspelled, nearest, unknown_command
from unconcept.models import EMBEDDED as MODELS


def test_the_embedded_models_are_all_known():
    assert set(EMBEDDED) == set(MODELS)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("pig", "pig", 0),
        ("pgi", "pig", 1),
        ("pi", "pig", 1),
        ("pigs", "pig", 1),
        ("bag", "pig", 2),
        ("", "pig", 3),
    ],
)
def test_edit_distance(a, b, distance):
    assert edit_distance(a, b) == edit_distance(b, a) == distance


def test_what_is_a_misspelling():
    """One slip in a short word, two in a long one; a word of one's own is left alone."""
    words = ("pig", "cat", "watercolor", "farm animal")
    assert misspelled("pgi", words) == "pig"
    assert misspelled("watrcolour", words) == "watercolor"
    assert misspelled("pig", words) is None
    assert misspelled("dragon", words) is None
    assert misspelled("animal", words) is None


def test_of_two_equally_near_names_the_one_that_begins_alike():
    assert nearest("esdd", ("sdd", "esd")) == "esd"
    assert nearest("xxxx", ("sdd", "esd")) is None


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("eraze", 'did you mean "erase"?'),
        ("pgi", "to erase a concept: unconcept erase pig."),
        ("mickey mouse", "to erase a concept: unconcept erase 'mickey mouse'."),
        ("", 'unknown command "": The commands are erase, show'),
    ],
)
def test_a_word_that_is_not_a_command(word, answer):
    assert answer in str(unknown_command(word, ("erase", "show")))


def test_words_of_an_embedded_model():
    check_concepts(
        [Concept(erase="Pig", alternative="cattle", keep=("neon", "farm animal"))], "emoji"
    )
    check_concepts([Concept(erase="pgi")], "some/model")
    check_concepts([Concept(erase="van gogh")], "emoji")
    with pytest.raises(InputError, match='the word "sharkk": did you mean "shark"'):
        check_concepts([Concept(erase="pig", keep=("sharkk",))], "emoji-flow")


def test_an_edit_that_is_not_there(tmp_path):
    """The edits beside it are named, unless one is nearly the same."""
    with pytest.raises(InputError, match=r"--edit .*demo does not exist$"):
        check_edit(tmp_path / "demo", "--edit")
    for name in ("pig", "van-gogh"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "edit.safetensors").touch()
    with pytest.raises(InputError, match=r"the edits in .* are (pig, van-gogh|van-gogh, pig)$"):
        check_edit(tmp_path / "demo", "--edit")
    with pytest.raises(InputError, match=r"did you mean .*van-gogh\?"):
        check_edit(tmp_path / "van-gog", "--edit")


def test_paths(tmp_path):
    (tmp_path / "own.csv").touch()
    check_path(None, "--prompts")
    check_path(tmp_path / "own.csv", "--prompts")
    with pytest.raises(
        InputError, match=r"--prompts .*onw.csv does not exist: did you mean .*own.csv\?"
    ):
        check_path(tmp_path / "onw.csv", "--prompts")
    with pytest.raises(InputError, match=r"does not exist$"):
        check_path(tmp_path / "nowhere" / "own.csv", "--prompts")


def test_models(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in (*EMBEDDED, "owner/name", str(tmp_path / "mine")):
        check_model(name)
    with pytest.raises(InputError, match=r"did you mean .*mine\?"):
        check_model(str(tmp_path / "mina"))
    with pytest.raises(InputError, match=r"missing.safetensors does not exist"):
        check_model(str(tmp_path / "missing.safetensors"))
