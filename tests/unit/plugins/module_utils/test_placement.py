# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
from typing import Any, Callable

import gguf
import numpy
import pytest
from ansible_collections.airgap.inference.plugins.module_utils import (
    _model,
    _placement,
    _placement_case,
    _placement_remedies,
    _placement_terms,
    _weight_shards,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import placement_models as models
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.placement_models import (
    A100,
    H100,
    H200,
    L4,
    L40S,
    T4,
)
from hypothesis import given, settings
from hypothesis import strategies as st

GIB = 2**30
Place = Callable[..., "dict[str, Any]"]


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Place:
    def ask(config: dict[str, Any], tensors: Any = None, **parameters: Any) -> dict[str, Any]:
        path = models.write(tmp_path, config, tensors)
        return _placement_remedies.place(_placement_case.read({"path": path, **parameters}))

    return ask


def test_a_model_that_fits(place: Place) -> None:
    answer = place(models.LLAMA_8B, models.llama_tensors(models.LLAMA_8B), gpus=[H100])
    assert (answer["verdict"], answer["reasons"], answer["remedies"]) == ("fits", [], [])
    assert answer["weights_bytes_per_gpu"] == 8030261248 * 2
    assert answer["weights_estimated"] is False
    assert answer["kv_cache_bytes_per_token"] == 131072
    assert answer["max_model_len"] == answer["largest_max_model_len"] == 131072
    assert answer["tensor_parallel_sizes"] == [1, 2, 4, 8, 16]
    assert answer["gpus"] == [0]
    # Weights, reserve and cache are what gpu_memory_utilization gives of the 79.11 GiB that CUDA reports.
    parts = (
        "weights_bytes_per_gpu",
        "activation_bytes_per_gpu",
        "graph_bytes_per_gpu",
        "library_bytes_per_gpu",
        "kv_cache_memory_bytes",
    )
    assert sum(answer[part] for part in parts) / GIB == pytest.approx(79.11 * 0.92, rel=0.001)


LOGGED = {
    # docs/placement.md lists them with their sources: what vLLM said that loading took, and what it had left for the KV cache, in GiB.
    # Before 0.21 it did not count CUDA graphs, as an eager engine does not. The log of qwen3-0.6b states no settings: further away.
    "qwen2.5-7b": (
        models.QWEN_7B,
        {"gpus": [L40S], "gpu_memory_utilization": 0.95, "max_model_len": 4096, "max_num_seqs": 128},
        14.29,
        26.32,
    ),
    "qwen3.5-4b": (
        models.QWEN35_4B,
        {
            "gpus": [L40S],
            "gpu_memory_utilization": 0.5,
            "max_model_len": 1024,
            "max_num_batched_tokens": 8192,
            "max_num_seqs": 256,
        },
        8.61,
        11.11,
    ),
    "qwen3-8b-l40s": (
        models.QWEN3_8B,
        {"gpus": [L40S], "gpu_memory_utilization": 0.9, "max_model_len": 4096, "enforce_eager": True},
        15.27,
        24.13,
    ),
    "qwen3-8b-awq-l40s": (
        models.QWEN3_8B,
        {"gpus": [L40S], "gpu_memory_utilization": 0.9, "max_model_len": 4096, "enforce_eager": True},
        5.71,
        33.69,
    ),
    "qwen3-0.6b-l4": (
        models.QWEN3_SMALL,
        {"gpus": [L4], "gpu_memory_utilization": 0.9, "max_model_len": 4096, "enforce_eager": True},
        1.12,
        17.07,
    ),
    "gpt-oss-20b-a100": (
        models.GPT_OSS_20B,
        {"gpus": [A100], "gpu_memory_utilization": 0.65, "max_model_len": 131072, "enforce_eager": True},
        13.72,
        36.56,
    ),
    "llama-3.1-8b": (
        models.LLAMA_8B,
        {
            "gpus": [H100],
            "gpu_memory_utilization": 0.9,
            "max_model_len": 8192,
            "enforce_eager": True,
            "max_num_batched_tokens": 2048,
            "max_num_seqs": 256,
        },
        14.99,
        54.93,
    ),
}


@pytest.mark.parametrize("name", LOGGED)
def test_the_memory_of_the_cache_is_near_what_vllm_logged(tmp_path: pathlib.Path, name: str) -> None:
    config, parameters, loaded, reported = LOGGED[name]
    case = _placement_case.read({"path": models.write(tmp_path, config), **parameters})
    whole = _weight_shards.Tensor("model.norm.weight", "U8", 1, int(loaded * GIB))
    figures = _placement.evaluate(case._replace(parts=_weight_shards.parts([whole]))).figures
    assert figures["kv_cache_memory_bytes"] / GIB == pytest.approx(
        reported, rel=0.04 if name == "qwen3-0.6b-l4" else 0.02
    )


def test_a_configuration_alone_tells_almost_as_much(place: Place, tmp_path: pathlib.Path) -> None:
    alone = place(models.LLAMA_8B, gpus=[H100])
    assert alone["weights_estimated"] is True
    whole = place(models.LLAMA_8B, models.llama_tensors(models.LLAMA_8B), gpus=[H100])
    assert abs(alone["weights_bytes_per_gpu"] / whole["weights_bytes_per_gpu"] - 1) < 0.001


def test_deepseek_over_eight(place: Place) -> None:
    # 671 billion parameters of a byte; latent attention keeps the same on each GPU.
    answer = place(models.DEEPSEEK_V3, gpus=[H200] * 8, tensor_parallel_size=8)
    assert 76 < answer["weights_bytes_per_gpu"] / GIB < 81
    assert answer["kv_cache_bytes_per_token"] == 61 * 576 * 2
    assert answer["verdict"] == "fits"


def test_a_fixed_cache_is_exact(place: Place) -> None:
    # As the CPU engine logs it: blocks of 128 tokens, 1 GiB a rank.
    small = {
        **models.LLAMA_8B,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "hidden_size": 512,
        "head_dim": 64,
    }
    answer = place(small, kv_cache_bytes=GIB, max_model_len=500)
    assert answer["block_size"] == 128
    assert answer["kv_cache_bytes_per_token"] == 2048
    assert answer["max_concurrency"] == 4096 / 4
    assert answer["kv_cache_tokens"] == 512000
    assert (answer["verdict"], answer["activation_bytes_per_gpu"]) == ("fits", None)
    divided = place(small, kv_cache_bytes=GIB, max_model_len=512, tensor_parallel_size=2)
    assert divided["kv_cache_tokens"] == 2**20


def test_a_cache_that_is_too_small_is_refused_with_what_it_takes(place: Place) -> None:
    answer = place(models.LLAMA_8B, kv_cache_bytes=GIB, max_model_len=32768)
    assert answer["verdict"] == "does not fit"
    assert (
        "needs 4.02 GiB of KV cache on each GPU, and 1.00 GiB are there; the longest that fits is 8064"
        in answer["reasons"][0]
    )
    assert {"kv_cache_bytes": 257 * 128 * 131072} in answer["changes"]
    assert {"max_model_len": 7936} in answer["changes"]


def test_remedies_are_true(place: Place) -> None:
    asked = {"gpus": [H100] * 2, "tensor_parallel_size": 2, "max_model_len": 32768}
    answer = place(models.LLAMA_70B, **asked)
    assert answer["verdict"] == "does not fit"
    assert answer["changes"][0] == {"gpu_memory_utilization": 0.95}
    assert len(answer["remedies"]) == len(answer["changes"]) > 2
    for change in answer["changes"]:
        assert place(models.LLAMA_70B, **{**asked, **change})["verdict"] in ("fits", "tight")


def test_more_of_the_hosts_gpus(place: Place) -> None:
    answer = place(models.LLAMA_70B, gpus=[H100] * 4, max_model_len=8192)
    assert "leave nothing of the" in answer["reasons"][0]
    # Two GPUs hold it with nothing to spare for the estimate, and four surely.
    assert [change["tensor_parallel_size"] for change in answer["changes"][:2]] == [2, 4]


def test_where_no_setting_helps_the_hardware_is_named(place: Place) -> None:
    answer = place(models.LLAMA_8B, gpus=[T4], dtype="half", max_model_len=4096)
    assert answer["changes"] == [{}]
    assert (
        "2 such GPUs with tensor_parallel_size 2, a GPU of at least 20 GiB, or a smaller or quantised model"
        in answer["remedies"][0]
    )


def test_tight_says_by_how_much(place: Place) -> None:
    longest = place(models.LLAMA_8B, gpus=[L4], max_model_len=4096)["largest_max_model_len"]
    answer = place(models.LLAMA_8B, gpus=[L4], max_model_len=longest)
    assert answer["verdict"] == "tight"
    assert "less than the 1.35 GiB by which" in answer["reasons"][0]
    safe = answer["safe_max_model_len"]
    assert 4096 < safe < longest
    assert place(models.LLAMA_8B, gpus=[L4], max_model_len=safe)["verdict"] == "fits"


def test_a_size_that_cannot_be(place: Place) -> None:
    answer = place(models.LLAMA_8B, gpus=[L4] * 3, tensor_parallel_size=3, max_model_len=8192)
    assert answer["verdict"] == "does not fit"
    assert "cannot be loaded at tensor parallel size 3" in answer["reasons"][0]
    assert answer["weights_bytes_per_gpu"] is None
    assert answer["changes"][0] == {"tensor_parallel_size": 1, "pipeline_parallel_size": 3, "data_parallel_size": 1}


def test_gpus_are_promised_once(place: Place) -> None:
    taken = {**H100, "index": 0, "promised_to": "chat"}
    free = {**H100, "index": 1}
    assert place(models.LLAMA_8B, gpus=[taken, free])["gpus"] == [1]
    answer = place(models.LLAMA_70B, gpus=[taken, free], tensor_parallel_size=2, max_model_len=4096)
    assert (
        "2 GPUs are asked for and 1 are free of the host's 2: GPU 0 (NVIDIA H100 80GB HBM3) is promised to chat"
        in answer["reasons"][0]
    )


def test_memory_that_others_use(place: Place) -> None:
    answer = place(models.LLAMA_8B, gpus=[{**H100, "memory_used_mib": 20000}], max_model_len=8192)
    assert "GPU 0 (NVIDIA H100 80GB HBM3) has 19.53 GiB in use by others" in answer["reasons"][0]
    assert answer["verdict"] == "does not fit"


def test_without_gpus_it_is_not_judged(place: Place) -> None:
    answer = place(models.LLAMA_8B)
    assert answer["verdict"] == "unknown"
    assert answer["kv_cache_bytes_per_token"] == 131072
    assert answer["kv_cache_tokens"] is None


def test_the_whole_of_gpu_info(place: Place) -> None:
    described = {
        "gpus": [{"index": 3, **H100, "memory_mib": "81559"}],
        "driver_version": "535.1.2",
        "cuda_version": "12.2",
        "changed": False,
    }
    answer = place(models.LLAMA_8B, gpus=described, image={"cuda_version": "13.0.2"})
    assert answer["gpus"] == [3]
    assert "needs a driver of branch 580 or newer, and the host has 535.1.2" in answer["reasons"][0]


@pytest.mark.parametrize(
    ("config", "parameters", "said"),
    [
        (
            {**models.LLAMA_8B, "architectures": ["NobodyKnowsForCausalLM"]},
            {"gpus": [H100]},
            ("unknown", "NobodyKnowsForCausalLM is none that vLLM"),
        ),
        (
            {**models.LLAMA_8B, "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            {"gpus": [H100]},
            ("does not fit", "by bitsandbytes, which vLLM 0.32 does not load"),
        ),
        (
            models.LLAMA_8B,
            {"gpus": [H100], "max_model_len": 200000},
            ("does not fit", "max_model_len is 200000, and the model's configuration allows 131072"),
        ),
        (
            {**models.LLAMA_8B, "model_type": "gemma2"},
            {"gpus": [H100], "dtype": "half", "max_model_len": 4096},
            ("does not fit", "dtype is float16"),
        ),
        (
            models.LLAMA_8B,
            {"gpus": [T4] * 4, "tensor_parallel_size": 4, "dtype": "bfloat16", "max_model_len": 4096},
            ("does not fit", "bfloat16 needs compute capability 8.0"),
        ),
        (
            models.LLAMA_8B,
            {"gpus": [T4] * 4, "tensor_parallel_size": 4, "max_model_len": 4096},
            ("tight", "computes in float16 instead"),
        ),
        (
            models.DEEPSEEK_V3,
            {"gpus": [{**A100, "memory_mib": 200000}] * 8, "tensor_parallel_size": 8, "max_model_len": 4096},
            ("tight", "FP8 needs compute capability 8.9"),
        ),
        (
            models.GPT_OSS_20B,
            {"gpus": [{**T4, "memory_mib": 80000}], "max_model_len": 4096},
            ("does not fit", "MXFP4 weights need compute capability 8.0"),
        ),
        (
            models.DEEPSEEK_V3,
            {
                "gpus": [{**A100, "memory_mib": 200000}] * 8,
                "tensor_parallel_size": 8,
                "max_model_len": 4096,
                "kv_cache_dtype": "fp8",
            },
            ("does not fit", "an FP8 KV cache needs compute capability 8.9"),
        ),
        (
            models.LLAMA_8B,
            {"gpus": [{"memory_mib": None, "compute_capability": "9.0"}]},
            ("unknown", "states no memory of its own"),
        ),
        (
            models.LLAMA_8B,
            {"gpus": [{**H100, "compute_capability": "new"}]},
            ("unknown", "compute_capability is 'new'"),
        ),
        (
            models.LLAMA_8B,
            {"gpus": [H100, A100], "tensor_parallel_size": 2},
            ("tight", "of different generations (compute capability 8.0, 9.0)"),
        ),
        (
            models.LLAMA_8B,
            {"gpus": [H100] * 40, "pipeline_parallel_size": 40},
            ("does not fit", "32 layers cannot be given to 40"),
        ),
    ],
    ids=[
        "architecture",
        "quantisation",
        "length",
        "float16",
        "bfloat16",
        "auto",
        "fp8",
        "mxfp4",
        "fp8-cache",
        "shared-memory",
        "capability",
        "mixed",
        "stages",
    ],
)
def test_what_stands_in_the_way(
    place: Place, config: dict[str, Any], parameters: dict[str, Any], said: tuple[str, str]
) -> None:
    answer = place(config, **parameters)
    assert any(said[1] in reason for reason in answer["reasons"]), answer["reasons"]
    assert answer["verdict"] == said[0]


def test_a_wrong_dtype_has_its_remedy(place: Place) -> None:
    answer = place(models.LLAMA_8B, gpus=[T4] * 4, tensor_parallel_size=4, dtype="bfloat16", max_model_len=4096)
    assert answer["changes"][0] == {"dtype": "half"}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"tensor_parallel_size": 0}, "tensor_parallel_size is 0"),
        ({"max_model_len": -1}, "max_model_len is -1"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization is 1.5"),
        ({"gpus": "H100"}, "gpus is 'H100'"),
        ({"gpus": [{"memory_mib": "80 GB"}]}, "memory_mib is '80 GB'"),
        ({"kv_cache_bytes": 2**60}, "kv_cache_bytes is"),
    ],
    ids=["size", "length", "share", "gpus", "memory", "cache"],
)
def test_what_makes_no_sense_is_an_error(place: Place, parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(AirgapError, match=said):
        place(models.LLAMA_8B, **parameters)


def test_the_verdicts_of_several_findings() -> None:
    find = _placement_terms.Finding
    for levels, verdict in (
        (["note"], "fits"),
        (["note", "tight"], "tight"),
        (["tight", "unknown"], "unknown"),
        (["unknown", "refused"], "does not fit"),
    ):
        assert _placement_terms.Outcome([find(level, "x", "x") for level in levels], {}).verdict == verdict


def test_weights_that_are_there_in_part_are_computed(place: Place, tmp_path: pathlib.Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}'
    )
    answer = place(models.LLAMA_8B, gpus=[H100])
    assert answer["weights_estimated"] is True
    assert "1 of the weight files that the index names are not there" in answer["notes"][0]
    assert answer["verdict"] == "fits"


def test_files_of_another_engine(tmp_path: pathlib.Path) -> None:
    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    for name, value in (("context_length", 8192), ("embedding_length", 512), ("block_count", 2), ("head_count", 8)):
        getattr(writer, f"add_{name}")(value)
    writer.add_tensor("token_embd.weight", numpy.zeros((64, 512), dtype=numpy.float16))
    for step in ("header_to_file", "kv_data_to_file", "tensors_to_file"):
        getattr(writer, f"write_{step}")()
    writer.close()
    answer = _placement_remedies.place(_placement_case.read({"path": str(tmp_path), "gpus": [H100]}))
    assert answer["verdict"] == "does not fit"
    assert "the weights are GGUF, which vLLM 0.32 does not load" in answer["reasons"][0]


CONFIGS = (models.LLAMA_8B, models.LLAMA_70B, models.QWEN_7B, models.QWEN35_4B, models.DEEPSEEK_V3, models.GPT_OSS_20B)
CASES = st.fixed_dictionaries(
    {
        "tensor_parallel_size": st.integers(1, 9),
        "pipeline_parallel_size": st.integers(1, 3),
        "max_model_len": st.none() | st.integers(1, 200000),
        "gpu_memory_utilization": st.floats(0.1, 1),
        "kv_cache_dtype": st.sampled_from(_placement_terms.CACHE_DTYPES),
        "dtype": st.sampled_from(_placement_terms.DTYPES),
        "kv_cache_bytes": st.none() | st.integers(1, 2**38),
        "max_num_batched_tokens": st.none() | st.integers(1, 65536),
        "enforce_eager": st.booleans(),
        "block_size": st.none() | st.sampled_from([16, 64, 128]),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CONFIGS), CASES, st.lists(st.sampled_from([H100, H200, A100, L40S, L4, T4]), max_size=8))
def test_any_question_has_an_answer_and_its_remedies_help(
    config: dict[str, Any], asked: dict[str, Any], gpus: list[dict[str, Any]]
) -> None:
    # Without the walk through files, which would be made anew for each.
    chosen = _placement_case.settings(asked, bool(gpus))
    indexed = [{"index": index, **gpu} for index, gpu in enumerate(gpus)]
    case = _placement_terms.Case(
        _model.describe(config, "config.json"), chosen, indexed, config=config.get("text_config", config)
    )
    answer = _placement_remedies.place(case)
    assert answer["verdict"] in ("fits", "tight", "does not fit", "unknown")
    assert bool(answer["reasons"]) == (answer["verdict"] != "fits")
    refused = _placement_remedies._topics(_placement.evaluate(case), "refused")
    for change in answer["changes"]:
        if change:
            after = _placement.evaluate(case._replace(settings=chosen._replace(**change)))
            assert _placement_remedies._topics(after, "refused") <= refused
    more = [{**gpu, "memory_mib": gpu["memory_mib"] * 2} for gpu in indexed]
    larger = _placement.evaluate(
        case._replace(gpus=more, settings=chosen._replace(max_num_batched_tokens=2048, max_num_seqs=64))
    )
    smaller = _placement.evaluate(case._replace(settings=chosen._replace(max_num_batched_tokens=2048, max_num_seqs=64)))
    assert _placement_remedies._topics(larger, "refused") <= _placement_remedies._topics(smaller, "refused")
