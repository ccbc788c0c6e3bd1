"""A hub that accepts a connection and never answers: the run ends with a line that says so."""

import socket

import huggingface_hub
import pytest
from huggingface_hub import close_session, constants

from unconcept.io import hub_access


@pytest.fixture
def silent_hub(monkeypatch):
    """A server that says nothing is the hub."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(hub_access, "HUB_TIMEOUT", 0.2)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        close_session()
        yield address
        close_session()


def test_a_model_of_a_silent_hub_is_given_up(silent_hub, run, tmp_path):
    code, _, err = run("generate", "a pig", "--model", "owner/name")
    assert code == 2, err
    assert err.splitlines()[-1].startswith('unconcept: "owner/name" is not a folder here')
    assert not (tmp_path / "unconcept-out").exists()


def test_the_wait_is_said(silent_hub, caplog):
    assert not hub_access.hub_answers("owner/name", None)
    assert "the hub did not answer within 0.2 s" in caplog.text


def test_a_push_to_a_silent_hub_says_what_was_written(silent_hub, run, tmp_path, edit):
    file = edit.save(tmp_path / "edit.safetensors")
    words = ("export", file, "--as", "kohya", "--out", "lora.safetensors")
    code, _, err = run(*words, "--push", "owner/name")
    assert code == 1, err
    line = err.splitlines()[-1]
    assert line.startswith("unconcept: lora.safetensors was written, but not pushed")
    assert "did not answer within 0.2 s" in line
    assert (tmp_path / "lora.safetensors").exists()
