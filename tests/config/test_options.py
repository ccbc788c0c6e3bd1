"""Where commands write by default."""

from pathlib import Path

from unconcept.config.options import Output


def test_a_second_run_has_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = Output().folder("evaluation")
    assert first == Path("unconcept-out/evaluation")
    first.mkdir(parents=True)
    assert Output().folder("evaluation") == Path("unconcept-out/evaluation-2")
    assert Output(force=True).folder("evaluation") == first
    assert Output(out=first).folder("evaluation") == first
