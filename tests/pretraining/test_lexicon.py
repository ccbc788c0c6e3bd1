"""How the lexicon's file is made from WordNet's."""

import pytest

pytest.importorskip("transformers")

from pretraining import lexicon as maker

LINES = """\
00000010 05 n 01 swine 0 001 ~ 00000020 n 0000 | stout-bodied animals  
00000020 05 n 03 hog 0 pig 0 Sus_scrofa 0 002 @ 00000010 n 0000 ;u 06730109 n 0100 | domestic swine; "a fat pig"  
00000030 18 n 01 Piggy 0 001 @i 00000020 n 0000 | a single pig  
"""  # noqa: W291, E501  (as WordNet writes its lines)


def test_a_meaning_is_read_with_its_nouns_kinds_and_gloss(tmp_path):
    (tmp_path / "data.noun").write_text("  1 Copyright  \n  2   \n" + LINES)
    synsets = maker.read_synsets(tmp_path / "data.noun")
    pig = synsets[20]
    assert (pig.words, pig.parents, pig.gloss) == (
        ["hog", "pig", "Sus scrofa"],
        [10],
        "domestic swine",
    )
    assert synsets[10].children == [20]
    assert [offset for offset in synsets if synsets[offset].is_instance] == [30]
    assert maker.in_tree_order(synsets)[:2] == [10, 20]
    assert maker.notice(tmp_path / "data.noun") == ["# Copyright", "#"]
    assert maker.shown_words(pig, bad_words=set()) == ["pig", "Sus scrofa"], "one is an insult"
    assert maker.shown_words(pig, bad_words={"pig"}) == ["Sus scrofa"]


def test_a_noun_shows_its_frequent_meanings():
    synsets = {n: maker.Synset(n, 6, ["knife"], [], {}, False, "") for n in (1, 2, 3)}
    synsets[1].counts, synsets[2].counts = {"knife": 20}, {"knife": 5}
    usage = maker.Usage({"knife": [1, 2, 3]}, {}, {"knife": 3000, "deck": 900, "chair": 500})
    assert [usage.place("knife", n, synsets) for n in (1, 2, 3)] == [1, 2, 3]
    usage.others["knife"] = (0, 21)  # as an adjective
    assert usage.place("knife", 1, synsets) == 3
    assert usage.rank("chair", 9) < usage.rank("chair", 0) < usage.rank("deck chair", 0)
    assert usage.rank("zorblax", 0) == maker.WITHOUT_TOKEN
