# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GPU's generation can compute of a model's quantisation and types.

Every number is what vLLM 0.32 asks for, named by file (below vllm/) and class; "native" is where the arithmetic itself is done in the
weights' type, below which vLLM keeps the small weights and computes with larger ones.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_QUANTIZATION = "model_executor/layers/quantization/"
_SCHEMES = _QUANTIZATION + "compressed_tensors/schemes/"


class Need(NamedTuple):
    """From which compute capability on something runs, from which it runs natively, and who says so."""

    what: str
    least: tuple[int, int]
    native: tuple[int, int] | None
    source: str


# vllm/platforms/cuda.py, check_if_supports_dtype
BFLOAT16 = Need("bfloat16", (8, 0), None, "platforms/cuda.py: check_if_supports_dtype")
# vllm/model_executor/layers/quantization/fp8.py; native where CudaPlatform.supports_fp8 (platforms/cuda.py) is true.
FP8 = (8, 9)
# Blackwell: vllm/model_executor/layers/quantization/fp_quant.py, and the FP4 tensor cores that NVFP4 is made for.
FP4 = (10, 0)

_METHODS = {
    "fp8": Need("FP8", (7, 5), FP8, _QUANTIZATION + "fp8.py: Fp8Config"),
    "fbgemm_fp8": Need("FP8", (8, 0), FP8, _QUANTIZATION + "fbgemm_fp8.py: FBGEMMFp8Config"),
    "deepseek_v4_fp8": Need("FP8", (7, 5), FP8, _QUANTIZATION + "fp8.py: Fp8Config"),
    "modelopt": Need("FP8", (8, 0), FP8, _QUANTIZATION + "modelopt.py: ModelOptFp8Config"),
    "modelopt_fp4": Need("NVFP4", (7, 5), FP4, _QUANTIZATION + "modelopt.py: ModelOptNvFp4Config"),
    "modelopt_mxfp8": Need("MXFP8", (8, 0), FP4, _QUANTIZATION + "modelopt.py: ModelOptMxFp8Config"),
    "mxfp8": Need("MXFP8", (8, 0), FP4, _QUANTIZATION + "modelopt.py: ModelOptMxFp8Config"),
    "modelopt_mixed": Need(
        "ModelOpt's mixed precision", (7, 5), None, _QUANTIZATION + "modelopt.py: ModelOptMixedPrecisionConfig"
    ),
    "mxfp4": Need("MXFP4", (8, 0), None, _QUANTIZATION + "mxfp4.py: Mxfp4Config"),
    "gpt_oss_mxfp4": Need("MXFP4", (8, 0), None, _QUANTIZATION + "mxfp4.py: GptOssMxfp4Config"),
    "awq": Need("AWQ", (7, 5), None, _QUANTIZATION + "auto_awq.py: AutoAWQConfig"),
    "gptq": Need("GPTQ", (6, 0), None, _QUANTIZATION + "auto_gptq.py: AutoGPTQConfig"),
    "moe_wna16": Need("quantised experts", (7, 0), None, _QUANTIZATION + "moe_wna16.py: MoeWNA16Config"),
    "experts_int8": Need("INT8 experts", (8, 0), None, _QUANTIZATION + "experts_int8.py: ExpertsInt8Config"),
    "fp_quant": Need("FP-Quant", (10, 0), None, _QUANTIZATION + "fp_quant.py: FPQuantConfig"),
    "torchao": Need("TorchAO", (7, 5), None, _QUANTIZATION + "torchao.py: TorchAOConfig"),
    "quark": Need("Quark", (7, 0), None, _QUANTIZATION + "quark/quark.py: QuarkConfig"),
    "inc": Need("AutoRound", (6, 0), None, _QUANTIZATION + "inc/inc.py: INCConfig"),
}
_ALIASES = {
    "awq_marlin": "awq", "auto_awq": "awq", "gptq_marlin": "gptq", "auto_gptq": "gptq", "auto-round": "inc",
}  # fmt: skip

# The packages of vLLM 0.32 are built with CUDA 13, whose compiler knows no GPU before Turing.
# NVIDIA, CUDA Toolkit 13.0 release notes, "Deprecated Architectures": https://docs.nvidia.com/cuda/archive/13.0.0/cuda-toolkit-release-notes/
CUDA_13 = (7, 5)


def read(value: Any) -> tuple[int, int] | None:
    """9.0, "9.0" or [9, 0]; None where nothing is stated."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        value = f"{value[0]}.{value[1]}"
    match = re.match(r"(\d{1,2})(?:\.(\d{1,2}))?\Z", str(value))
    return (int(match.group(1)), int(match.group(2) or 0)) if match else None


def shown(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def quantization_need(quantization: dict[str, Any] | None) -> Need | None:
    """What the model's weights need; None for plain weights and for methods that are not known here."""
    if not quantization or not quantization.get("method"):
        return None
    method = str(quantization["method"]).replace("compressed_tensors", "compressed-tensors")
    if method == "compressed-tensors":
        return _scheme(quantization)
    method = _ALIASES.get(method, method)
    return _METHODS.get(method) or _METHODS.get(method.replace("-", "_"))


def _scheme(quantization: dict[str, Any]) -> Need | None:
    """compressed-tensors: CompressedTensorsConfig chooses a scheme by the types of weights and activations."""
    bits, activations = quantization.get("bits"), quantization.get("activation_bits")
    group = quantization.get("group_size")
    if quantization.get("weight_type") == "float":
        if bits == 8 and group == 32:
            return Need("MXFP8", (7, 5), FP4, _SCHEMES + "compressed_tensors_w8a8_mxfp8.py: CompressedTensorsW8A8Mxfp8")
        if bits == 8 and activations == 8:
            return Need("FP8", (7, 5), FP8, _SCHEMES + "compressed_tensors_w8a8_fp8.py: CompressedTensorsW8A8Fp8")
        if bits == 8:
            return Need("FP8", (7, 5), None, _SCHEMES + "compressed_tensors_w8a16_fp8.py: CompressedTensorsW8A16Fp8")
        if bits == 4 and group == 32:
            return Need(
                "MXFP4", (8, 0), None, _SCHEMES + "compressed_tensors_w4a4_mxfp4.py: CompressedTensorsW4A4Mxfp4"
            )
        if bits == 4:
            return Need("NVFP4", (7, 5), FP4, _SCHEMES + "compressed_tensors_w4a4_nvfp4.py: CompressedTensorsW4A4Fp4")
        return None
    if bits == 8 and activations == 8:
        return Need("INT8", (7, 5), None, _SCHEMES + "compressed_tensors_w8a8_int8.py: CompressedTensorsW8A8Int8")
    if bits == 4 and activations == 8:
        return Need(
            "INT4 with FP8", (9, 0), None, _SCHEMES + "compressed_tensors_w4a8_fp8.py: CompressedTensorsW4A8Fp8"
        )
    return Need(
        f"INT{bits}" if bits else "integers",
        (7, 5),
        None,
        _SCHEMES + "compressed_tensors_wNa16.py: CompressedTensorsWNA16",
    )


def cache_need(kv_cache_dtype: str, latent: bool) -> Need | None:
    """What the type of the KV cache needs: an attention backend that reads it."""
    if not kv_cache_dtype.startswith("fp8"):
        return None
    if latent:
        return Need("an FP8 KV cache", FP8, None, "v1/attention/backends/mla/triton_mla.py: TritonMLABackend")
    # FlashInfer reads it from Ampere on.
    return Need("an FP8 KV cache", (8, 0), None, "v1/attention/backends/flashinfer.py: FlashInferBackend")
