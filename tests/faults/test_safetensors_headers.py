"""Safetensors files that anybody may have made: whatever the header says, it is read or refused."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from unconcept import Edit, InputError
from unconcept.io.peer_weights import check_own_edit
from unconcept.io.weights import open_safetensors
from unconcept.models.single_file import Header, problem_of

FILE = "file.safetensors"

SLOW = [HealthCheck.too_slow]  # how fast the machine is, is not what is tested

text = st.text(alphabet="ab:.\x00\n[ä\ud83d", max_size=6)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner),
    max_leaves=6,
)
sizes = st.sampled_from([0, 1, 2, 4, 8, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, -1])
tensor = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F16", "I64", "F8_E4M3", "C64", "F99", ""]) | anything,
        "shape": st.lists(sizes, max_size=4) | anything,
        "data_offsets": st.lists(sizes, min_size=2, max_size=2) | anything,
    },
)
names = st.sampled_from(["unet.a.weight", "a", "", "__metadata__", "a:up", "\x00", "ä" * 50])
metadata = st.dictionaries(st.sampled_from(["unconcept", "format", "a"]), text)
header = st.dictionaries(names, tensor | metadata | anything, max_size=4)


def readers(file: Path) -> list:
    """What reads a file of a stranger, in every way that the commands do."""
    return [
        lambda: open_safetensors(file),
        lambda: problem_of(Header.read(file)),
        lambda: check_own_edit(file),
        lambda: Edit.load(file),
    ]


def read_or_refuse(file: Path) -> int:
    """How many readers refuse a file; any other error is raised."""
    errors = []
    for read in readers(file):
        try:
            read()
        except InputError as error:
            errors.append(str(error))
    assert all(error.strip() for error in errors)
    return len(errors)


def write(folder: Path, head: bytes, content: bytes = b"", length: int | None = None) -> Path:
    file = folder / FILE
    size = len(head) if length is None else length
    file.write_bytes(size.to_bytes(8, "little") + head + content)
    return file


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=SLOW)
@given(header, st.sampled_from([0, 1, 4, 8, 16]))
def test_any_header_is_read_or_refused(tmp_path_factory, content, size):
    file = write(tmp_path_factory.getbasetemp(), json.dumps(content).encode(), bytes(size))
    read_or_refuse(file)


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=SLOW)
@given(st.binary(max_size=40), st.sampled_from([None, 0, 1, 2**20, 2**40, 2**63, 2**64 - 1]))
def test_any_bytes_are_refused(tmp_path_factory, head, length):
    file = write(tmp_path_factory.getbasetemp(), head, length=length)
    assert read_or_refuse(file) >= 2


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=SLOW)
@given(st.data())
def test_a_file_that_is_cut_or_changed_is_read_or_refused(tmp_path_factory, data):
    whole = save({"unet.a.weight": torch.zeros(2, 2)}, {"unconcept": '{"concepts": []}'})
    cut = data.draw(st.integers(0, len(whole)))
    at = data.draw(st.integers(0, max(0, cut - 1)))
    content = bytearray(whole[:cut])
    if content:
        content[at] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / FILE
    file.write_bytes(bytes(content))
    refused = read_or_refuse(file)
    if cut < len(whole):
        assert refused >= 2


@pytest.mark.parametrize(
    "head",
    [
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        '{"__metadata__":{"unconcept":"{}"},"__metadata__":{"unconcept":"[]"}}',
        "[" * 100_000,
        '{"a":' * 50_000,
        '{"__metadata__": 3}',
        '{"__metadata__": ["unconcept"]}',
        '{"__metadata__": {"unconcept": 3}}',
        '{"__metadata__": {"unconcept": "' + "[" * 50_000 + '"}}',
        '{"a":{"dtype":"F32","shape":[99999999999,99999999999],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[4,0]}}',
        '{"a":{"dtype":"F32","shape":[' + "9" * 5000 + '],"data_offsets":[0,4]}}',
    ],
)
def test_headers_that_are_wrong_in_a_special_way(head, tmp_path):
    """Names twice, depth, metadata of a wrong kind, sizes that overflow."""
    read_or_refuse(write(tmp_path, head.encode(), bytes(4)))
