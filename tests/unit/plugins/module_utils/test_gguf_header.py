# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of GGUF headers, judged by the gguf package, which writes the files and names the types."""

from __future__ import annotations

import pathlib
import resource
import struct
import time
from typing import Any

import gguf
import numpy
import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gguf_header, _model
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TOKENS = [f"token {number}" for number in range(5000)]


def write(path: pathlib.Path, family: str = "llama", values: dict[str, Any] | None = None) -> pathlib.Path:
    """A small model as the gguf package writes it, with a type of each kind."""
    writer = gguf.GGUFWriter(str(path), family)
    writer.add_context_length(8192)
    writer.add_embedding_length(512)
    writer.add_block_count(2)
    writer.add_feed_forward_length(1024)
    writer.add_head_count(8)
    writer.add_head_count_kv(4)
    writer.add_license("apache-2.0")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.5] * len(TOKENS))
    writer.add_eos_token_id(2)
    for key, value in (values or {}).items():
        getattr(writer, key)(value)
    writer.add_tensor("token_embd.weight", numpy.zeros((5000, 512), dtype=numpy.float16))
    writer.add_tensor("output_norm.weight", numpy.zeros((512,), dtype=numpy.float32))
    writer.add_tensor(
        "blk.0.attn_q.weight",
        numpy.zeros((512, 512 // 32 * 34), dtype=numpy.uint8),
        raw_dtype=gguf.GGMLQuantizationType.Q8_0,
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_package_reads_the_same(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "m.gguf")
    ours = _gguf_header.read_header(str(path))
    theirs = gguf.GGUFReader(str(path))
    assert set(ours.tensors) == {tensor.name for tensor in theirs.tensors}
    for tensor in theirs.tensors:
        found = ours.tensors[tensor.name]
        assert (found.dtype, found.shape[::-1], found.elements, found.bytes) == (
            tensor.tensor_type.name,
            [int(side) for side in tensor.shape],
            tensor.n_elements,
            tensor.n_bytes,
        )
    for name, field in theirs.fields.items():
        if name.startswith("GGUF."):
            continue
        value, contents = ours.metadata[name], field.contents()
        assert value == (len(contents) if isinstance(value, _gguf_header.Length) else contents), name
    assert isinstance(ours.metadata["tokenizer.ggml.tokens"], _gguf_header.Length)


def test_the_types_are_those_of_the_package() -> None:
    assert {number: (known[0], known[1:]) for number, known in _gguf_header._TYPES.items()} == {
        int(kind): (kind.name, sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()
    }


def test_a_model(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "model-Q8_0.gguf")
    (tmp_path / "mmproj-model.gguf").write_bytes(b"the vision tower of another program")
    model = _model.read(str(tmp_path))
    assert model["format"] == "gguf"
    assert (model["architecture"], model["known_architecture"]) == ("llama", None)
    assert (model["attention_heads"], model["kv_heads"], model["head_size"], model["layers"]) == (8, 4, 64, 2)
    assert (model["context_length"], model["vocabulary_size"], model["intermediate_size"]) == (8192, 5000, 1024)
    assert (model["tokenizer"], model["tokenizer_kind"], model["licence"]) == (True, "gguf", "apache-2.0")
    assert model["generation"]["eos_token_ids"] == [2]
    assert model["tied_embeddings"] is True
    assert (model["quantization"]["method"], model["quantization"]["engine_support"]) == ("gguf", False)
    assert model["tensor_parallel_sizes"] == [1, 2, 4, 8]
    assert model["unknown"] == ["whether the engine loads GGUF: vLLM 0.32 does not, llama.cpp and its like do"]
    assert model["weights"] == {
        "files": ["model-Q8_0.gguf"],
        "surplus_files": [],
        "missing_files": [],
        "bytes": 5000 * 512 * 2 + 512 * 4 + 512 * 544,
        "bytes_by_dtype": {"F16": 5000 * 512 * 2, "F32": 512 * 4, "Q8_0": 512 * 544},
        "elements": 5000 * 512 + 512 + 512 * 512,
        "parameters": 5000 * 512 + 512 + 512 * 512,
    }
    assert _model.tensors(str(tmp_path))["blk.0.attn_q.weight"].shape == [512, 512]


@pytest.mark.parametrize(
    ("family", "values", "attention"),
    [
        ("gemma2", {"add_sliding_window": 4096, "add_key_length": 256}, [("sliding", 1, 256), ("full", 1, 256)]),
        ("gemma3", {"add_sliding_window": 512, "add_key_length": 256}, [("sliding", 2, 256)]),
        ("gpt-oss", {"add_sliding_window": 128}, [("sliding", 1, 64), ("full", 1, 64)]),
        ("deepseek2", {"add_kv_lora_rank": 512, "add_rope_dimension_count": 64}, [("latent", 2, 576)]),
        ("jamba", {"add_head_count_kv": [0, 4], "add_ssm_state_size": 16}, [("recurrent", 1, None), ("full", 1, 64)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_layers_by_kind(
    tmp_path: pathlib.Path, family: str, values: dict[str, Any], attention: list[tuple[str, int, int | None]]
) -> None:
    write(tmp_path / "m.gguf", family, values)
    model = _model.read(str(tmp_path))
    assert [(group["kind"], group["layers"], group["head_size"]) for group in model["attention"]] == attention


def test_parts(tmp_path: pathlib.Path) -> None:
    for number in (1, 2):
        write(tmp_path / f"m-0000{number}-of-00003.gguf")
    with pytest.raises(AirgapError, match=r"lacks 1 parts of its model: m-00003-of-00003\.gguf"):
        _model.read(str(tmp_path))
    assert _model.read(str(tmp_path), complete=False)["weights"]["missing_files"] == ["m-00003-of-00003.gguf"]
    write(tmp_path / "m-00003-of-00003.gguf")
    assert len(_model.read(str(tmp_path))["weights"]["files"]) == 3
    write(tmp_path / "other.gguf")
    with pytest.raises(AirgapError, match=r"holds 2 models as GGUF files.*keep one"):
        _model.read(str(tmp_path))


def head(tensors: int = 0, pairs: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "claims 4 bytes at byte 0 and holds 0"),
        (b"GGML", "is no GGUF file"),
        (head(version=1), "has version 1"),
        (b"GGUF" + struct.pack(">I", 3), "has version 50331648"),
        (head(tensors=2**60), f"claims {2**60} tensors"),
        (head(pairs=2**60), f"claims {2**60} entries"),
        (head(pairs=1), "it was cut off"),
        (head(pairs=1) + struct.pack("<Q", 2**60), f"a text of {2**60} bytes"),
        (head(pairs=1) + pair(b"k", 99, b""), "has the type 99"),
        (head(pairs=1) + pair(b"k", 9, struct.pack("<IQ", 4, 2**60)), f"claims {2**60} values of 'k'"),
        (head(pairs=1) + pair(b"k", 9, struct.pack("<IQ", 9, 1)), "array of the type 9"),
        (head(pairs=1) + pair(b"k", 9, struct.pack("<IQ", 4, 100_000)), "it was cut off"),
        (head(pairs=1) + pair(b"k", 9, struct.pack("<IQ", 8, 2**26)), "claims 67108864 texts"),
        (head(pairs=1) + pair(b"k", 9, struct.pack("<IQ", 8, 10_000)), "it was cut off"),
        (head(tensors=1) + struct.pack("<Q", 1) + b"t" + struct.pack("<I", 9), "claims 9 dimensions"),
        (head(tensors=1) + struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 32, 99, 0), "has the type 99"),
        (head(tensors=1) + struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 33, 2, 0), "blocks of 32"),
        (head(tensors=1) + struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 2**63, 0, 0), "more elements than"),
        (head(tensors=1) + struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 64, 0, 0), "incomplete or damaged"),
    ],
    ids=str,
)
def test_a_broken_file(tmp_path: pathlib.Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(AirgapError, match=message) as caught:
        _gguf_header.read_header(str(path))
    assert str(path) in str(caught.value)
    assert time.monotonic() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_the_longest_vocabulary_that_is_read_costs_a_second_at_most(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(head(pairs=1) + pair(b"k", 9, struct.pack("<IQ", 8, _gguf_header.MAX_TEXTS)))
    with open(path, "ab") as file:
        file.truncate(2**34)
    started = time.monotonic()
    assert _gguf_header.read_header(str(path)).metadata == {"k": _gguf_header.MAX_TEXTS}
    assert time.monotonic() - started < 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("gguf") / "m.gguf").read_bytes()[:200_000]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_an_error_or_a_description(tmp_path: pathlib.Path, whole: bytes, data: st.DataObject) -> None:
    damaged = bytearray(whole)
    for _time in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 700))] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(damaged))
    with open(path, "ab") as file:
        file.truncate(data.draw(st.sampled_from([0, 100, 200_000, 6_000_000])))
    try:
        _model.read(str(tmp_path))
    except AirgapError as error:
        assert str(tmp_path) in str(error)
