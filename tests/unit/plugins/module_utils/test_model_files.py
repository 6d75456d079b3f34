# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Safetensors over duplicates, no pickles unasked, nothing half, and the licence stays."""

from __future__ import annotations

import json

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _model_files
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._model_files import Wish

PAPERS = ["LICENSE", "README.md"]


def kept(*paths: str, **wish: tuple[str, ...]) -> list[str]:
    return _model_files.choose("m", [*PAPERS, *paths], Wish(**wish)).kept


def left_out(*paths: str) -> list[str]:
    return _model_files.choose("m", [*PAPERS, *paths], Wish()).left_out


def refused(*paths: str, **wish: tuple[str, ...]) -> str:
    with pytest.raises(AirgapError) as caught:
        _model_files.choose("m", [*PAPERS, *paths], Wish(**wish))
    return str(caught.value)


@pytest.mark.parametrize(
    "duplicate",
    [
        "pytorch_model.bin",
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model.bin.index.json",
        "training_args.bin",
        "model.pt",
        "model.pth",
        "tf_model.h5",
        "flax_model.msgpack",
        "rust_model.ot",
        "model.onnx",
        "model-Q4_K_M.gguf",
        "onnx/model.onnx",
        "onnx/config.json",
        "openvino/openvino_model.bin",
        "original/consolidated.00.pth",
        "original/model.safetensors",
        "metal/model.bin",
        "consolidated.safetensors",
        "consolidated.safetensors.index.json",
    ],
)
def test_safetensors_are_taken_over_duplicates(duplicate: str) -> None:
    assert left_out("config.json", "model.safetensors", duplicate) == [duplicate]


def test_what_is_no_duplicate_stays() -> None:
    assert left_out("config.json", "model.safetensors.index.json", "model-1.safetensors", "tokenizer.model") == []
    assert left_out("consolidated.safetensors", "params.json") == []
    assert left_out("model.gguf") == []
    assert left_out("original/model.safetensors", "config.json") == []


def test_a_part_that_is_only_pickled_is_no_duplicate() -> None:
    assert "2_Dense/pytorch_model.bin" in refused("model.safetensors", "2_Dense/pytorch_model.bin")
    assert left_out("model.safetensors", "2_Dense/pytorch_model.bin", "2_Dense/model.safetensors") == [
        "2_Dense/pytorch_model.bin"
    ]


def test_pickled_weights_are_refused_by_name_until_they_are_allowed_by_name() -> None:
    said = refused("config.json", "pytorch_model.bin")
    assert "pytorch_model.bin" in said and "allow_pickle" in said and "exclude" in said
    assert "pytorch_model.bin" in kept("config.json", "pytorch_model.bin", allow_pickle=("pytorch_model.bin",))
    assert "a/b.pt" in kept("a/b.pt", allow_pickle=("b.pt",))
    assert "evil.pkl" in refused("b.pt", "evil.pkl", allow_pickle=("b.pt",))


def test_patterns_are_those_of_the_hub_and_papers_always_stay() -> None:
    names = ("config.json", "a.gguf", "b.gguf", "sub/c.gguf", "model.safetensors")
    assert kept(*names, include=("a.gguf",)) == sorted([*PAPERS, "a.gguf"])
    assert kept(*names, include=("*.gguf",), exclude=("sub/",)) == sorted([*PAPERS, "a.gguf", "b.gguf"])
    assert kept(*names, exclude=("*.gguf", "README.md", "LICENSE")) == sorted(
        [*PAPERS, "config.json", "model.safetensors"]
    )
    assert "pytorch_model.bin" in refused("model.safetensors", "pytorch_model.bin", include=("*",))


def test_patterns_that_leave_nothing_are_told_with_what_there_is() -> None:
    said = refused("config.json", include=("*.ggup",))
    assert "*.ggup" in said and "config.json" in said


def test_an_index_must_find_its_shards() -> None:
    index = json.dumps({"weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}}).encode()
    files = {"x.safetensors.index.json", "x-1.safetensors"}
    with pytest.raises(AirgapError, match=r"x-2\.safetensors"):
        _model_files.check_indexes("m", files, lambda _path: index)
    _model_files.check_indexes("m", files | {"x-2.safetensors"}, lambda _path: index)
    _model_files.check_indexes("m", {f"part/{path}" for path in [*files, "x-2.safetensors"]}, lambda _path: index)
    for broken in (b"{", b"[]", b"{}", b'{"weight_map": 1}', b"\xff"):
        with pytest.raises(AirgapError, match="cannot be read"):
            _model_files.check_indexes("m", files, lambda _path, broken=broken: broken)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("---\nlicense: apache-2.0\ntags: [x]\n---\n# Card", "apache-2.0"),
        ("---\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        ("---\nlicense: other\nlicense_name: llama3.1\n---\n", "llama3.1"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense:\n- mit\n- apache-2.0\ntags: []\n---\n", "mit, apache-2.0"),
        ("---\ntags: []\n---\nlicense: mit", "LICENSE.txt"),
        ("license: mit", "LICENSE.txt"),
        ("", "LICENSE.txt"),
    ],
)
def test_the_licence_is_what_the_card_says_else_the_name_of_the_file(card: str, said: str) -> None:
    assert _model_files.licence(["LICENSE.txt", "README.md", "sub/README.md"], lambda _path: card.encode()) == said


def test_a_model_may_have_no_licence() -> None:
    assert _model_files.licence(["config.json"], lambda _path: b"") == ""
