# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import resource
import time
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _safetensors
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def encode(header: Any) -> bytes:
    text = json.dumps(header).encode("utf-8")
    return len(text).to_bytes(8, "little") + text


def write(path: pathlib.Path, header: Any, size: int) -> str:
    """A file with this header, and holes where the weights would be."""
    start = encode(header)
    with open(path, "wb") as file:
        file.write(start)
        file.truncate(len(start) + size)
    return str(path)


WEIGHTS = {"__metadata__": {"format": "pt"}, "a": tensor("BF16", [4, 8], 0, 64), "b": tensor("F8_E4M3", [10], 64, 74)}


def test_a_header(tmp_path: pathlib.Path) -> None:
    header = _safetensors.read_header(write(tmp_path / "m.safetensors", WEIGHTS, 74))
    assert header == _safetensors.Header(
        {"a": _safetensors.Tensor("BF16", [4, 8], 32, 64), "b": _safetensors.Tensor("F8_E4M3", [10], 10, 10)},
        42,
        {"BF16": 64, "F8_E4M3": 10},
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds 0 bytes and no safetensors header"),
        (b"\x01\x02", "holds 2 bytes and no safetensors header"),
        ((2**60).to_bytes(8, "little") + b"{}", f"claims a header of {2**60} bytes"),
        ((2**64 - 1).to_bytes(8, "little"), "claims a header of"),
        ((100).to_bytes(8, "little") + b"{}", "claims a header of 100 bytes and holds 10"),
        ((2).to_bytes(8, "little") + b"{x", "header of .* is not valid JSON"),
        (encode([]), "list instead of an object"),
        (encode({"a": []}), "tensor 'a' is not described by an object"),
        (encode({"a": tensor("bf16; rm", [1], 0, 2)}), "has the dtype 'bf16; rm'"),
        (encode({"a": {"dtype": "BF16", "data_offsets": [0, 2]}}), "shape is 'None'"),
        (encode({"a": tensor("BF16", [-1], 0, 2)}), "shape holds '-1'"),
        (encode({"a": tensor("BF16", [1.5], 0, 2)}), "shape holds '1.5'"),
        (encode({"a": tensor("BF16", [2**40, 2**40], 0, 2)}), "more elements than any file holds"),
        (encode({"a": tensor("BF16", [1], 2, 0)}), r"data_offsets \[2, 0\]"),
        (encode({"a": tensor("BF16", [3], 0, 2)}), "3 elements of BF16 in 2 bytes"),
        (encode({"a": tensor("BF16", [1], 0, 2), "b": tensor("BF16", [1], 1, 3)}), "overlap or leave gaps"),
        (encode(WEIGHTS), "describes [0-9]+: it is incomplete or damaged"),
        (encode({"a": tensor("BF16", [1], 0, 2)}) + b"123", "it is incomplete or damaged"),
    ],
)
def test_a_broken_header(tmp_path: pathlib.Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(AirgapError, match=message) as caught:
        _safetensors.read_header(str(path))
    assert str(path) in str(caught.value)


def test_a_header_of_100_mb_is_not_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((100_000_000).to_bytes(8, "little"))
    os.truncate(path, 200_000_000)
    with pytest.raises(AirgapError, match="claims a header of 100000000 bytes, more than the"):
        _safetensors.read_header(str(path))


def index(directory: pathlib.Path, weight_map: Any) -> None:
    (directory / _safetensors.INDEX).write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8"
    )


def test_a_single_file(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "model.safetensors", WEIGHTS, 74)
    assert _safetensors.describe(str(tmp_path)) == {
        "files": ["model.safetensors"],
        "surplus_files": [],
        "missing_files": [],
        "bytes": 74,
        "bytes_by_dtype": {"BF16": 64, "F8_E4M3": 10},
        "elements": 42,
    }


def test_shards(tmp_path: pathlib.Path) -> None:
    index(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    write(tmp_path / "1.safetensors", {"a": tensor("F16", [2], 0, 4)}, 4)
    with pytest.raises(
        AirgapError,
        match=r"lacks 1 of the 2 weight files that its model\.safetensors\.index\.json names: 2\.safetensors",
    ):
        _safetensors.describe(str(tmp_path))
    write(tmp_path / "2.safetensors", {"c": tensor("F16", [2], 0, 4)}, 4)
    with pytest.raises(AirgapError, match=r"2\.safetensors lacks 1 tensors.* b"):
        _safetensors.describe(str(tmp_path))
    write(tmp_path / "2.safetensors", {"b": tensor("F32", [2], 0, 8)}, 8)
    write(tmp_path / "consolidated.safetensors", WEIGHTS, 74)
    described = _safetensors.describe(str(tmp_path))
    assert described["surplus_files"] == ["consolidated.safetensors"]
    assert (described["bytes"], described["elements"]) == (12, 4)


def test_what_need_not_be_complete(tmp_path: pathlib.Path) -> None:
    index(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    assert _safetensors.read(str(tmp_path), complete=False).missing_files == ["1.safetensors", "2.safetensors"]
    write(tmp_path / "1.safetensors", {"a": tensor("F16", [2], 0, 4)}, 4)
    weights = _safetensors.read(str(tmp_path), complete=False)
    assert (weights.files, weights.missing_files) == (["1.safetensors", "2.safetensors"], ["2.safetensors"])
    assert weights.tensors == {"a": _safetensors.Tensor("F16", [2], 2, 4)}


def test_a_tensor_in_two_files_is_one(tmp_path: pathlib.Path) -> None:
    for name in ("consolidated.safetensors", "model.safetensors"):
        write(tmp_path / name, WEIGHTS, 74)
    described = _safetensors.describe(str(tmp_path))
    assert (described["bytes"], described["elements"], len(described["files"])) == (74, 42, 2)


def test_the_first_broken_file_is_named_among_many(tmp_path: pathlib.Path) -> None:
    for number in range(50):
        write(tmp_path / f"{number:02}.safetensors", {f"t{number}": tensor("F16", [2], 0, 4)}, 4)
    for number in (30, 40):
        (tmp_path / f"{number}.safetensors").write_bytes((2**60).to_bytes(8, "little"))
    with pytest.raises(AirgapError, match=r"30\.safetensors claims a header of 1152921504606846976 bytes"):
        _safetensors.read(str(tmp_path))


@pytest.mark.parametrize(
    "weight_map", [None, {}, [], {"a": 1}, {"a": "../x.safetensors"}, {"a": "/x.safetensors"}, {"a": "config.json"}]
)
def test_a_broken_index(tmp_path: pathlib.Path, weight_map: Any) -> None:
    index(tmp_path, weight_map)
    with pytest.raises(AirgapError, match=r"index\.json: weight_map"):
        _safetensors.describe(str(tmp_path))


def test_700_gb_in_1000_files_are_described_in_two_seconds(tmp_path: pathlib.Path) -> None:
    weight_map = {}
    for number in range(1000):
        name = f"model-{number:05}.safetensors"
        header = {
            f"layers.{number}.{part}": tensor("BF16", [35_000_000], part * 70_000_000, (part + 1) * 70_000_000)
            for part in range(10)
        }
        write(tmp_path / name, header, 700_000_000)
        weight_map.update(dict.fromkeys(header, name))
    index(tmp_path, weight_map)
    started = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    described = _safetensors.describe(str(tmp_path))
    assert time.monotonic() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    assert described["bytes"] == 700_000_000_000


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_an_error_or_changes_nothing_that_counts(tmp_path: pathlib.Path, data: st.DataObject) -> None:
    whole = bytearray(encode(WEIGHTS) + bytes(74))
    for _time in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.safetensors"
    path.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        header = _safetensors.read_header(str(path))
    except AirgapError as error:
        assert str(path) in str(error)
        return
    assert sum(header.bytes_by_dtype.values()) <= 74


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=300))
def test_noise(tmp_path: pathlib.Path, noise: bytes) -> None:
    path = tmp_path / "m.safetensors"
    for content in (noise, len(noise).to_bytes(8, "little") + noise):
        path.write_bytes(content)
        try:
            _safetensors.read_header(str(path))
        except AirgapError as error:
            assert str(path) in str(error)
