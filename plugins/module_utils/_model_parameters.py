# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many parameters a model has: packed weights unpacked, and without the scales that belong to them."""

from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.airgap.inference.plugins.module_utils._safetensors import Tensor

# The names that each method gives to what is no weight: as its quantised checkpoints hold them, and vLLM 0.32 loads them in
# vllm/model_executor/layers/quantization.
_BESIDES = (
    ".scales", ".qzeros", ".g_idx", ".weight_scale", ".weight_scale_inv", ".weight_scale_2", ".weight_global_scale", ".weight_zero_point",
    ".weight_shape", ".weight_g_idx", ".input_scale", ".input_global_scale", ".input_zero_point", ".k_scale", ".v_scale", ".q_scale",
    ".output_scale", ".activation_scale", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".SCB", ".weight_format",
    "_blocks_scales", "_scales", "_weight_scale", "_weight_scale_inv", "_weight_scale_2", "_input_scale",
)  # fmt: skip
_BESIDES_INSIDE = (".quant_state.",)
_PACKED = {"I32": 32, "U8": 8, "I8": 8, "F4": 4}


def count(tensors: Mapping[str, Tensor], quantization: dict[str, Any] | None) -> int | None:
    """The number of parameters; None where weights are packed in a way that is not known."""
    if quantization is None:
        return sum(tensor.elements for tensor in tensors.values())
    total = 0
    for name, tensor in tensors.items():
        if name.endswith(_BESIDES) or any(part in name for part in _BESIDES_INSIDE):
            continue
        width = _PACKED.get(tensor.dtype)
        if width is None:
            total += tensor.elements
            continue
        bits = quantization["bits"]
        if not bits or bits > width or quantization["mixed"]:
            return None
        total += tensor.elements * width // bits
    return total
