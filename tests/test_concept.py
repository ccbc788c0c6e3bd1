import pytest

from unconcept import Concept, InputError
from unconcept.concept import article


def test_parse():
    assert Concept.parse("pig=cow") == Concept(erase="pig", alternative="cow")
    assert Concept.parse("pig", "cow") == Concept(erase="pig", alternative="cow")
    assert Concept.parse(" pig ").alternative is None
    with pytest.raises(InputError, match="keep one"):
        Concept.parse("pig=cow", "horse")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"erase": "  "}, "empty"),
        ({"erase": "pig", "alternative": " "}, "empty"),
        ({"erase": "pig", "alternative": "Pig"}, "the concept itself"),
        ({"erase": "pig", "alternative": "hog", "synonyms": ("hog",)}, "the concept itself"),
        ({"erase": "pig", "templates": ("a picture",)}, "no {}"),
    ],
)
def test_wrong_input_says_what_to_change(fields, says):
    with pytest.raises(InputError, match=says):
        Concept(**fields)


@pytest.mark.parametrize(
    ("words", "is_"), [("pig", "a pig"), ("owl", "an owl"), ("unicorn", "a unicorn"), ("grapes", "grapes"), ("a cat", "a cat")]
)
def test_article(words, is_):
    assert article(words) == is_


def test_pairs_name_the_alternative_in_the_same_phrase():
    concept = Concept(erase="pig", alternative="owl", synonyms=("hog",), templates=("{}", "a photo of {}"))
    assert concept.pairs() == [
        ("a pig", "an owl"), ("a hog", "an owl"), ("a photo of a pig", "a photo of an owl"), ("a photo of a hog", "a photo of an owl"),
    ]  # fmt: skip
    assert {a for _, a in Concept(erase="pig").pairs()} == {""}


def test_a_style_gets_no_article_inside_its_phrase():
    assert ("a cat in neon style", "a cat in sepia style") in Concept(erase="neon", alternative="sepia", kind="style").pairs()
