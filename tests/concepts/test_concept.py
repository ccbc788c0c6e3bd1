import pytest

from unconcept.concepts.concept import Concept
from unconcept.concepts.retain import PARTNERS_PER_WORD, retain_prompts, word_pairs
from unconcept.concepts.templates import article
from unconcept.errors import InputError


def test_parse():
    assert Concept.parse("pig=cow") == Concept(erase="pig", alternative="cow")
    assert Concept.parse("pig", "cow") == Concept(erase="pig", alternative="cow")
    assert Concept.parse(" pig ").alternative is None
    assert Concept.parse("van gogh style=dry brushing") == Concept(
        erase="van gogh", alternative="dry brushing", kind="style"
    )
    assert Concept.parse("van gogh style", "dry brush style") == Concept(
        erase="van gogh", alternative="dry brush", kind="style"
    )
    with pytest.raises(InputError, match="keep one"):
        Concept.parse("pig=cow", "horse")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"erase": "  "}, "empty"),
        ({"erase": "pig", "alternative": " "}, "empty"),
        ({"erase": "pig", "alternative": "Pig"}, "the concept itself"),
        ({"erase": "pig", "alternative": "hog", "synonyms": ("hog",)}, "the concept itself"),
        ({"erase": "pig", "templates": ("a picture",)}, "no {}"),
        ({"erase": "pig", "synonyms": "hog"}, "a list of words"),
        ({"erase": "pig", "keep": ("cat", 3)}, "a list of words"),
        ({"erase": 5}, "must be words"),
    ],
)
def test_wrong_input_says_what_to_change(fields, message):
    with pytest.raises(InputError, match=message):
        Concept(**fields)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("pig", "a pig"),
        ("owl", "an owl"),
        ("unicorn", "a unicorn"),
        ("grapes", "grapes"),
        ("a cat", "a cat"),
    ],
)
def test_article(words, expected):
    assert article(words) == expected


def test_pairs_name_the_alternative_in_the_same_phrase():
    concept = Concept(
        erase="pig", alternative="owl", synonyms=("hog",), templates=("{}", "a photo of {}")
    )
    assert concept.pairs() == [
        ("a pig", "an owl"),
        ("a hog", "an owl"),
        ("a photo of a hog", "a photo of an owl"),
        ("a photo of a pig", "a photo of an owl"),
    ]


def test_names_rotate_in_the_order_of_the_pairs():
    """A trajectory uses the pairs in turn: a fixed order would tie a name to its noise levels."""
    concept = Concept(
        erase="pig",
        synonyms=("hog", "swine"),
        templates=("{}", "a photo of {}", "a painting of {}"),
    )
    prompts = [c for c, _ in concept.pairs()]
    for name in ("pig", "hog", "swine"):
        assert {i % 3 for i, prompt in enumerate(prompts) if name in prompt} == {0, 1, 2}


def test_without_an_alternative_the_rest_of_a_phrase_stays():
    """If the template is the concept alone, nothing is left."""
    pairs = dict(Concept(erase="pig").pairs())
    assert pairs["a pig and a chair"] == "a chair"
    assert pairs["a pig"] == ""
    assert dict(Concept(erase="neon", kind="style").pairs())["a cat in neon style"] == "a cat"
    assert (
        dict(Concept(erase="pig", alternative="cow").pairs())["a pig and a chair"]
        == "a cow and a chair"
    )


def test_an_alternative_may_have_a_phrase_of_its_own():
    night = Concept(
        erase="pig", alternative="cow", templates=("[{} and ]a moon at night => {} by day",)
    )
    assert night.pairs() == [("a pig and a moon at night", "a cow by day")]
    assert night.with_(alternative=None).pairs() == [
        ("a pig and a moon at night", "a moon at night")
    ]


def test_a_style_gets_no_article_inside_its_phrase():
    assert ("a cat in neon style", "a cat in sepia style") in Concept(
        erase="neon", alternative="sepia", kind="style"
    ).pairs()


def test_retained_prompts_use_the_concepts_templates_and_never_name_it():
    pig = Concept(
        erase="pig",
        synonyms=("hog",),
        keep=("hedgehog",),
        templates=("a sketch of {}", "{} and a house"),
    )
    house = Concept(erase="house", templates=("{}",))
    assert retain_prompts([pig], ["cow", "pig"]) == [
        "a cow",
        "a hedgehog",
        "a sketch of a hedgehog",
        "a hedgehog and a house",
        "a sketch of a cow",
        "a cow and a house",
    ]
    assert retain_prompts([pig, house], ["cow", "pig"]) == [
        "a cow",
        "a hedgehog",
        "a sketch of a hedgehog",
        "a sketch of a cow",
    ]


def test_a_kept_word_may_contain_an_erased_one():
    pig = Concept(erase="pig", keep=("guinea pig", "Pig"), templates=("a sketch of {}",))
    assert retain_prompts([pig], ["cow", "pig"]) == [
        "a cow",
        "a guinea pig",
        "a sketch of a guinea pig",
        "a sketch of a cow",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("pig", "a pig"),
        ("owl", "an owl"),
        ("unicorn", "a unicorn"),
        ("ukulele", "a ukulele"),
        ("Mickey Mouse", "Mickey Mouse"),
        ("The Beatles", "The Beatles"),
        ("the moon", "the moon"),
        ("Persian cat", "a Persian cat"),
        ("fries", "fries"),
    ],
)
def test_articles(words, expected):
    assert article(words) == expected


def test_a_kind_is_one_of_two():
    with pytest.raises(InputError, match="kind is 'character': it must be one of object, style"):
        Concept(erase="pig", kind="character")


def test_retained_prompts_of_a_style():
    neon = Concept(erase="neon", kind="style", keep=("sepia",), templates=("a cat in {} style",))
    assert retain_prompts([neon], ["cow"]) == ["a cow", "sepia", "a cat in sepia style"]


def test_retained_words_are_paired_at_random_and_never_with_themselves():
    words = [f"w{i}" for i in range(40)]
    pairs = word_pairs(words)
    assert len(pairs) == len(set(pairs))
    assert len(pairs) <= 40 * PARTNERS_PER_WORD
    assert pairs == word_pairs(words)
    firsts, seconds = zip(*(pair.removeprefix("a ").split(" and a ") for pair in pairs))
    assert set(firsts) == set(seconds) == set(words)
    assert all(PARTNERS_PER_WORD - 1 <= firsts.count(word) <= PARTNERS_PER_WORD for word in words)
    assert not any(a == b for a, b in zip(firsts, seconds))
    prompts = retain_prompts([Concept(erase="w3", templates=("{}",))], words)
    assert set(prompts) - {f"a {word}" for word in words} == {
        pair for pair in pairs if "w3" not in pair.split()
    }


def test_other_styles_take_turns_in_retained_scenes():
    words, styles = [f"w{i}" for i in range(20)], ("sepia", "halftone", "neon")
    neon = Concept(erase="neon", kind="style", keep=styles, templates=("a cat in {} style",))
    scenes = [prompt for prompt in retain_prompts([neon], words) if " and " in prompt]
    assert {prompt.split(" of ")[0] for prompt in scenes} == {"a sepia", "a halftone"}
    assert {prompt.split(" of ")[1] for prompt in scenes} < set(word_pairs(words))


def test_a_closed_form_maps_prompts_that_end_with_the_concept():
    pig = Concept(
        erase="pig",
        alternative="cow",
        synonyms=("hog",),
        templates=("{}", "a photo of {}", "{} and a chair"),
    )
    assert set(pig.pairs_ending_with_concept()) == {
        ("a pig", "a cow"),
        ("a hog", "a cow"),
        ("a photo of a pig", "a photo of a cow"),
        ("a photo of a hog", "a photo of a cow"),
    }
    assert Concept(erase="pig", templates=("{} and a chair",)).pairs_ending_with_concept() == [
        ("a pig", "")
    ]
    assert Concept(erase="neon", kind="style").pairs_ending_with_concept() == [("neon", "")]
