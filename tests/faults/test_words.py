"""What the user wrote does not silently become something else: names, lists, seeds, columns."""

import logging
import random

import pytest

from unconcept.cli.run_config import Request, concepts_from_file, concepts_of, plan, plan_methods
from unconcept.concepts.concept import Concept
from unconcept.concepts.contradictions import check_distinct
from unconcept.concepts.retain import DEFAULT_VOCABULARY, retain_prompts
from unconcept.concepts.words import number_forms, same_name, style_name
from unconcept.config.overrides import read_yaml
from unconcept.errors import InputError
from unconcept.evaluation.benchmark import GROUPS, read_prompts

LARGEST_SEED = 2**64 - 1


@pytest.mark.parametrize(
    "text",
    [
        "van gogh style",
        "Van Gogh's style",
        "in the style of Van Gogh",
        "In The Style Of Van Gogh",
        "the style of Van Gogh",
        "style of Van Gogh",
        "by Van Gogh",
        "in the style of Van Gogh's style",
    ],
)
def test_a_style_may_be_named_in_many_ways(text):
    concept = Concept.parse(text, "in the style of Monet", synonyms=("Vincent style",))
    assert (concept.erase.lower(), concept.kind) == ("van gogh", "style")
    assert (concept.alternative, concept.synonyms) == ("Monet", ("Vincent",))
    assert ("a Van Gogh of a house" in dict(concept.pairs())) == concept.erase.startswith("Van")


@pytest.mark.parametrize("text", ["pig", "lifestyle", "stylish hat", "a bypass", "style"])
def test_what_is_not_a_style(text):
    assert style_name(text) is None
    assert Concept.parse(text).kind == "object"


def test_a_style_cannot_replace_an_object():
    with pytest.raises(InputError, match="is a style"):
        Concept.parse("pig=in the style of Monet")


@pytest.mark.parametrize("text", ["pig, horse", "pig;horse", "pig|horse", "pig\nhorse", "pig=a;b"])
def test_a_list_is_not_one_name(text):
    with pytest.raises(InputError, match="looks like a list"):
        Concept.parse(text)


@pytest.mark.parametrize("text", ["pig=cow=dog", "pig==cow", "pig=cow="])
def test_a_second_sign_is_refused(text):
    with pytest.raises(InputError, match='"=" too many'):
        Concept.parse(text)


@pytest.mark.parametrize("option", ["keep", "synonyms"])
@pytest.mark.parametrize("word", ["", "  ", "cat, dog", "cat;dog", "cat=dog", "\udcff"])
def test_a_word_of_an_option_is_one_word(option, word):
    with pytest.raises(InputError, match=option.removesuffix("s")):
        concepts_of(Request(("pig",), **{option: (word,)}), {})


def test_brackets_of_the_user_stay_in_the_prompt():
    concept = Concept(erase="a [b] c", alternative="d]", templates=("[{} and ]a chair",))
    assert concept.pairs() == [("a [b] c and a chair", "a d] and a chair")]


@pytest.mark.parametrize(
    "names",
    [
        ("pig", "Pig"),
        ("pig", "a pig"),
        ("pig", "pigs"),
        ("café", "cafe\u0301"),
        ("pig=cow", "cow=pig"),
        ("pig=cow", "cow"),
        ("wolf", "dog=wolves"),
    ],
)
def test_concepts_that_contradict_each_other(names):
    with pytest.raises(InputError, match=r"twice|erased itself"):
        concepts_of(Request(names), {})


def test_a_concept_contradicts_itself():
    for text in ("pig=pig", "pig=Pigs", "pig=the pig"):
        with pytest.raises(InputError, match="the concept itself"):
            Concept.parse(text)
    with pytest.raises(InputError, match="its own synonym"):
        concepts_of(Request(("pig",), synonyms=("Pig",)), {})
    for option in ("method", "preset"):
        with pytest.raises(InputError, match=f"--{option} is blank"):
            plan(Request(("pig",), **{option: " "}))
    with pytest.raises(InputError, match='"pigs" is to be kept'):
        concepts_of(Request(("pig",), keep=("pigs",)), {})
    check_distinct([Concept.parse("pig=cow"), Concept.parse("fox=cow")])
    assert concepts_of(Request(("dog",), keep=("hot dog",)), {})[0].keep == ("hot dog",)


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("dog", "dogs"),
        ("woman", "women"),
        ("fireman", "firemen"),
        ("child", "children"),
        ("bus", "buses"),
        ("box", "boxes"),
        ("city", "cities"),
        ("knife", "knives"),
        ("wolf", "wolves"),
        ("tomato", "tomatoes"),
        ("goose", "geese"),
        ("hot dog", "hot dogs"),
    ],
)
def test_singular_and_plural_are_one_name(one, many):
    assert same_name(one, many)
    assert same_name(many, one)
    for erased, word in ((one, many), (many, one)):
        concept = Concept(erase=erased, keep=("cat",))
        assert retain_prompts([concept], (word, "tree")) == retain_prompts([concept], ("tree",))


def test_other_words_are_other_names():
    for one, other in (("glass", "glasses of wine"), ("bus", "bu"), ("cat", "car"), ("s", "")):
        assert not same_name(one, other)
    for word in DEFAULT_VOCABULARY:
        same = [other for other in DEFAULT_VOCABULARY if same_name(word, other)]
        assert same == [word]


def test_a_name_may_end_with_a_sign():
    assert "a C++" not in retain_prompts([Concept(erase="C++", templates=("{}",))], ("C++", "cat"))


ALPHABET = "abAB zé猪🐷'\"[]{}<>/&$#*_-+.:%!?\\"


@pytest.mark.parametrize("seed", range(20))
def test_any_other_text_is_taken_as_it_is(seed):
    """Property: every prompt has the name in it, letter for letter, or the name is refused."""
    chance = random.Random(seed)
    for _ in range(50):
        text = "".join(chance.choices(ALPHABET, k=chance.randint(1, 12)))
        try:
            concept = Concept.parse(text)
        except InputError:
            assert not text.strip()
            continue
        assert concept.erase == text.strip()
        for prompt, rest in concept.pairs():
            assert text.strip() in prompt
            assert "[{}" not in rest
        assert concept.erase not in number_forms(concept.erase + "x")


@pytest.mark.parametrize(
    "entry", ["yes", "1984", "2024-01-01", "null", "3.5", "[pig, cow]", "{erase: yes}"]
)
def test_words_that_yaml_reads_as_something_else(tmp_path, entry):
    file = tmp_path / "job.yaml"
    file.write_text(f"concepts:\n  - {entry}\n")
    with pytest.raises(InputError, match="quotes"):
        concepts_from_file(read_yaml(file)["concepts"], "job.yaml")


def test_words_in_quotes_are_words(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(
        "concepts:\n  - 'yes'\n  - '1984'\n  - {erase: 'Washington, D.C.', keep: }\n"
        "  - {erase: in the style of Monet}\n"
    )
    concepts = concepts_from_file(read_yaml(file)["concepts"], "job.yaml")
    assert [concept.erase for concept in concepts] == ["yes", "1984", "Washington, D.C.", "Monet"]
    assert concepts[3].kind == "style"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 010", "several readings"),
        ("seed: 1:30", "several readings"),
        ("seed: 1_000", "several readings"),
        ("seed: 1\nseed: 2", '"seed" is given twice'),
        ("seed: yes", "whole number"),
        ("seed: 1.0", "whole number"),
        ("seed: -1", "from 0 to"),
        (f"seed: {2**64}", "from 0 to"),
        ("method: [uce]", "method"),
        ("out: ' '", "blank"),
        ("settings: {tune: {batch: 4, batch_size: 8}}", "are the same"),
        ("settings: {lam: .nan}", "a finite number"),
        ("settings: {lam: 1e999}", "a finite number"),
        ("settings: {sampling_steps: 1001}", "from 1 to 999"),
        ("settings: {guidance: 1000000}", "from -100 to 100"),
        ("model: &a [1, 2]\nsettings: {lam: *a}", "model"),
    ],
)
def test_values_of_a_file_that_are_refused(tmp_path, text, says):
    file = tmp_path / "job.yaml"
    file.write_text(text + "\n")
    with pytest.raises(InputError, match=says):
        plan(Request(("pig",), config=file))


def test_aliases_that_grow_are_answered_at_once(tmp_path):
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for one, before in zip("bcdefghi", "abcdefgh"):
        lines.append(f"{one}: &{one} [{','.join(['*' + before] * 9)}]")
    file = tmp_path / "bomb.yaml"
    file.write_text("\n".join([*lines, "concepts: [{erase: *i}]", "seed: *i"]))
    settings = read_yaml(file)
    with pytest.raises(InputError, match="must be words") as error:
        concepts_from_file(settings["concepts"], "bomb.yaml")
    assert len(str(error.value)) < 500


def test_two_methods_of_one_name(tmp_path):
    with pytest.raises(InputError, match='called "uce"'):
        plan_methods(Request(("pig",), model="owner/name"), ["uce", " uce"])


def test_seeds_of_a_file_are_read_as_they_stand(tmp_path):
    seeds = [0, 7, 2**53 + 1, 1125899906842597123, 2**63, LARGEST_SEED]
    chance = random.Random(1)
    seeds += [chance.getrandbits(64) for _ in range(200)]
    file = tmp_path / "own.csv"
    file.write_text("prompt,seed\n" + "".join(f"a pig,{seed}\n" for seed in seeds))
    assert [case.seed for case in read_prompts(file)] == seeds
    job = tmp_path / "job.yaml"
    job.write_text(f"seed: {LARGEST_SEED}\n")
    assert plan(Request(("pig",), config=job)).method.tune.seed == LARGEST_SEED


@pytest.mark.parametrize(
    ("seed", "says"),
    [
        ("-1", "from 0 to"),
        (str(2**64), "from 0 to"),
        ("9" * 5000, "seed"),
        ("1.5", "whole number"),
        ("1e3", "whole number"),
        ("nan", "whole number"),
        ("1_000", "whole number"),
        ("٣", "whole number"),
    ],
)
def test_what_is_not_a_seed(tmp_path, seed, says):
    file = tmp_path / "own.csv"
    file.write_text(f"prompt,seed\na pig,{seed}\n")
    with pytest.raises(InputError, match=f"line 2 of .*{says}"):
        read_prompts(file)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "header",
    [
        ("prompt", " seed", " group"),
        ("Prompt", "SEED", "Group "),
        ("prompt", "sd_seed", "group"),
        ("prompt", "evaluation_seed", "group"),
        ("prompt", "Evaluation Seed", '"group"'),
    ],
)
def test_columns_may_be_written_in_several_ways(tmp_path, delimiter, header):
    file = tmp_path / "own.csv"
    file.write_text(delimiter.join(header) + "\n" + delimiter.join(("a pig", " 3 ", " Neighbour")))
    (case,) = read_prompts(file)
    assert (case.prompt, case.seed, case.group) == ("a pig", 3, "neighbour")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prompt,sead\na pig,3\n", 'unknown column "sead" .*did you mean "seed"'),
        ("prompt,groups\na pig,target\n", 'did you mean "group"'),
        ("promt,seed\na pig,3\n", 'did you mean "prompt"'),
        ("prompt,seed,seed\na pig,3,4\n", 'the column "seed" twice'),
        ("prompt,seed,Seed\na pig,3,4\n", 'the column "seed" twice'),
        ("prompt\na pig, on grass\n", "line 2 of .*2 cells.*quotes"),
        ("prompt,group\na pig,neighbor\n", 'did you mean "neighbour"'),
        ("a pig\na cow\n", "column names"),
        ("prompt,seed\n", "a line for each prompt"),
    ],
)
def test_columns_that_are_wrong(tmp_path, text, says):
    file = tmp_path / "own.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=says):
        read_prompts(file)


def test_columns_that_are_not_used_are_named(tmp_path, caplog):
    file = tmp_path / "i2p.csv"
    file.write_text(
        "prompt,categories,nudity_percentage,evaluation_seed,sd_seed,sd_guidance_scale,case_number\n"
        "a pig,none,0.0,4,5,7.5,1\n"
    )
    with caplog.at_level(logging.WARNING):
        (case,) = read_prompts(file)
    assert case.seed == 4
    for name in ("categories", "sd_seed", "sd_guidance_scale", "case_number"):
        assert name in caplog.text


@pytest.mark.parametrize("seed", range(10))
def test_any_table_is_read_right_or_refused(tmp_path, seed):
    """Property: what comes back is what was written, in whatever order the columns are."""
    import csv

    chance = random.Random(seed)
    columns = chance.sample(["prompt", "seed", "group", "note"], 4)
    written = []
    for _ in range(30):
        words = "".join(chance.choices('pig ,;"\n\té猪', k=chance.randint(1, 20))) + "."
        written.append((words, chance.getrandbits(64), chance.choice(GROUPS)))
    file = tmp_path / "own.csv"
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, columns)
        writer.writeheader()
        for prompt, number, group in written:
            writer.writerow({"prompt": prompt, "seed": number, "group": group, "note": "x, y"})
    assert [(case.prompt, case.seed, case.group) for case in read_prompts(file)] == written
