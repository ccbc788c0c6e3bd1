"""The lexicon, and concepts that are completed with it."""

import gzip
import hashlib
import re
import time

import pytest

from unconcept import erase
from unconcept.concepts import completion, lexicon, styles, wordnet
from unconcept.concepts.concept import Concept
from unconcept.concepts.retain import DEFAULT_VOCABULARY, retain_prompts
from unconcept.concepts.templates import plural
from unconcept.methods import UCE


@pytest.fixture(scope="module")
def words():
    return lexicon.read()


def completed(*texts):
    return completion.complete([Concept.parse(text) for text in texts], DEFAULT_VOCABULARY)


def prompts_of(concept):
    return [prompt for pair in concept.pairs() for prompt in pair]


def test_a_pig(words):
    pig = words.look_up("pig")
    assert {"hog", "swine"} <= set(pig.synonyms)
    assert "Sus scrofa" not in pig.synonyms
    assert "boar" in pig.members
    assert {"sheep", "goat", "deer", "cow"} <= set(pig.neighbours)
    assert not {"sow", "boar", "piglet", "razorback", "warthog"} & set(pig.neighbours)
    ungulate = words.graph.senses("ungulate")[0]
    for neighbour in pig.neighbours:
        above = [set(words.graph.ancestors(number)) for number in words.graph.senses(neighbour)]
        assert any(ungulate in ancestors for ancestors in above)
    assert pig.gloss == "domestic swine"


@pytest.mark.parametrize(
    ("category", "members"),
    [
        ("weapon", {"gun", "sword", "knife", "rifle"}),
        ("vehicle", {"car", "truck", "boat", "bus", "bicycle"}),
        ("musical instrument", {"guitar", "piano", "drum"}),
        ("bird", {"duck", "eagle", "owl"}),
    ],
)
def test_members_of_a_category_are_its_common_kinds(words, category, members):
    entry = words.look_up(category)
    assert members <= set(entry.members[:20])
    assert not members & set(entry.neighbours)


def test_names_of_two_words(words):
    engine = words.look_up("fire engine")
    assert engine.synonyms == ("fire truck",)
    assert "ambulance" in engine.neighbours


def test_a_plural_is_its_singular(words):
    assert words.look_up("cats").number == words.look_up("cat").number
    assert "cat" in words.look_up("cats").synonyms


@pytest.mark.parametrize("name", ["Zorblax", "zorblax", "Mickey Mouse", "mickey mouse", "Pig", "?"])
def test_names_and_unknown_words_have_templates_alone(words, name):
    assert words.look_up(name) is None
    (concept,) = completed(name)
    assert concept.synonyms == ()
    assert len(concept.templates) == completion.MOST
    assert not [template for template in concept.templates if "{s}" in template]
    assert prompts_of(concept)


def test_the_meaning_is_the_most_frequent_one_unless_something_says_otherwise(words):
    assert words.graph.topic(words.choose_sense("bat")) == lexicon.ANIMAL
    bat = words.choose_sense("bat", synonyms=("baseball bat",))
    assert words.graph.topic(bat) == lexicon.ARTIFACT
    assert words.graph.topic(words.choose_sense("crane")) == lexicon.ARTIFACT
    assert words.graph.topic(words.choose_sense("crane", "heron")) == lexicon.ANIMAL
    assert words.graph.topic(words.choose_sense("church")) == lexicon.ARTIFACT  # not the community


def test_the_alternative_is_not_erased():
    (weapon,) = completed("weapon=gun")
    assert "gun" not in weapon.synonyms
    assert "rifle" not in weapon.synonyms
    assert "sword" in weapon.synonyms
    (castle,) = completed("castle=palace")
    assert "palace" not in castle.synonyms
    assert completed("pig=cow")[0].alternative == "cow"


@pytest.mark.parametrize(
    "text", ["pig=cow", "weapon", "bird", "person", "van gogh style", "watercolor", "Zorblax"]
)
def test_a_concept_is_bounded_distinct_and_complete(text):
    (concept,) = completed(text)
    assert completed(text) == (concept,)
    assert completion.complete([concept], DEFAULT_VOCABULARY) == (concept,)
    assert completion.FEWEST <= len(concept.templates) <= completion.MOST
    n = len(completion.names(concept))
    assert len(concept.pairs()) <= max(completion.PROMPTS, completion.FEWEST * n)
    assert len({name.lower() for name in completion.names(concept)}) == n
    assert not set(concept.keep) & set(completion.names(concept))
    assert 20 <= len(set(concept.keep)) == len(concept.keep) <= 120


def test_what_the_caller_set_stays():
    concept = Concept(erase="pig", keep=("cat",), synonyms=("oinker",))
    (pig,) = completion.complete([concept], DEFAULT_VOCABULARY)
    assert pig.keep == ("cat",)
    assert pig.synonyms[0] == "oinker"
    assert "hog" in pig.synonyms
    chosen = Concept(erase="pig", keep=("cat",), templates=("{}",))
    assert completion.complete([chosen], DEFAULT_VOCABULARY) == (chosen,)


def test_words_of_the_vocabulary_that_are_members_are_erased():
    (tool,) = completed("vehicle")
    prompts = retain_prompts([tool], DEFAULT_VOCABULARY)
    for word in ("car", "bus", "bicycle", "boat"):
        assert f"a {word}" not in prompts
    assert "a dog" in prompts


def test_no_template_names_what_is_erased():
    chair, tree, cat = completed("chair=bench", "tree", "cat=dog")
    for concept, forbidden in ((chair, ("tree",)), (tree, ("chair",)), (cat, ("chair", "tree"))):
        for template in concept.templates:
            assert not any(word in template.split() for word in forbidden)
    assert not [template for template in chair.templates if "a chair" in template]


def test_an_artist_is_a_style():
    for text in ("Van Gogh", "van gogh style", "Vincent van Gogh"):
        (concept,) = completed(text)
        assert concept.kind == "style"
        assert {name.lower() for name in completion.names(concept)} == {
            "van gogh",
            "vincent van gogh",
        }
        assert "Paul Gauguin" in concept.keep[:10]
        assert {"Claude Monet", "watercolor"} <= set(concept.keep)
        assert "a painting by {}" in concept.templates
    prompts = retain_prompts([concept], DEFAULT_VOCABULARY)
    assert [prompt for prompt in prompts if prompt.startswith("a painting by Claude Monet of a")]
    assert not [prompt for prompt in prompts if "gogh" in prompt.lower()]


def test_a_medium_is_a_style():
    (concept,) = completed("watercolor=pencil sketch")
    assert concept.kind == "style"
    assert concept.synonyms == ("watercolour",)
    assert {"gouache", "pencil sketch"} <= set(concept.keep)
    assert not [template for template in concept.templates if " by " in template]
    assert ("a watercolor of a house", "a pencil sketch of a house") in concept.pairs()


def test_lists_have_the_promised_length_and_no_name_twice():
    artists = [entry for group in styles.artists().values() for entry in group]
    media = [entry for group in styles.media().values() for entry in group]
    assert len(artists) >= 150
    assert len(media) >= 100
    names = [name for entry in (*artists, *media) for name in entry.lower().split(" / ")]
    assert len(names) == len(set(names))
    for groups in (completion.SCENES, completion.SUBJECTS, completion.WORKS):
        templates = [template for group in groups.values() for template in group]
        assert len(templates) == len(set(templates))
        assert len(templates) + 5 >= 30
        assert not [template for template in templates if template.startswith("no ")]


def test_plurals_in_prompts():
    concept = Concept(erase="woman", alternative="fox", templates=("two {s}", "{} and some {s}"))
    assert concept.pairs() == [
        ("two women", "two foxes"),
        ("a woman and some women", "a fox and some foxes"),
    ]
    for word, expected in (
        ("cherry", "cherries"),
        ("toy", "toys"),
        ("bus", "buses"),
        ("cats", "cats"),
    ):
        assert plural(word) == expected
    assert plural("fire engine") == "fire engines"
    assert plural("garden mouse") == "garden mice"


def test_the_file_is_small_and_says_whose_it_is(words):
    assert wordnet.DATA.stat().st_size < 4e6
    text = gzip.decompress(wordnet.DATA.read_bytes()).decode()
    assert text.startswith(wordnet.FORMAT)
    licence = wordnet.DATA.with_name("wordnet-nouns.LICENSE.txt").read_text()
    for part in (licence, text[:3000]):
        assert "WordNet 3.1 Copyright 2011 by Princeton University" in part
    assert len(words.graph.rows) > 70_000


def test_what_nobody_should_read_is_left_out(words):
    """By digest, so that the words are not in this file either."""
    hidden = {"0111db6e4c", "02e24ee9fe", "06a1d8bf7f", "07c05679b1", "095080134d", "09616d58d5"}
    for noun in words.graph.nouns:
        assert hashlib.sha256(noun.encode()).hexdigest()[:10] not in hidden
    marker = re.compile(r"\b(offensive|disparaging|obscene|sexual intercourse|genitals?)\b")
    things = [row[4] for row in words.graph.rows if row[0] in ("4", "6", "8", "18")]
    assert not [gloss for gloss in things if marker.search(gloss)]


def test_looking_up_is_fast(words):
    words.look_up("dog")
    start = time.process_time()
    for noun in ("pig", "weapon", "fire engine", "guitar"):
        words.look_up(noun)
    assert time.process_time() - start < 2.0
    start = time.process_time()
    wordnet.read.__wrapped__()
    assert time.process_time() - start < 5.0


@pytest.mark.parametrize("added", [True, False])
def test_erase_with_the_lexicon_and_without(folder, tmp_path, added, all_names_known):
    report = erase(
        [Concept(erase="pig", alternative="cow")],
        method=UCE(),
        model=str(folder),
        out=tmp_path / "out",
        extent="none",
        lexicon=added,
    )
    [concept] = report["concept"]
    assert bool(concept["synonyms"]) == bool(concept["keep"]) == added
