# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many placements at once: for each question its answer, or why there is none."""

from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.airgap.inference.plugins.module_utils import _placement, _placement_case, _placement_remedies
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._placement_terms import NOTE, Case

# The options of model_placement by the kind of their values; what has none here is handed on as it is.
_WHOLE = (
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "max_model_len", "kv_cache_bytes", "max_num_batched_tokens",
    "max_num_seqs", "block_size",
)  # fmt: skip
_OTHERS = (
    "path", "gpus", "device", "gpu_memory_utilization", "kv_cache_dtype", "dtype", "enforce_eager", "enable_prefix_caching", "image", "host",
    "disks",
)  # fmt: skip
# max_model_len: as vLLM's auto, the longest that fits.
AS_FITS = -1


def answers(cases: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The answers in the order of the questions."""
    return [answer(case) for case in cases]


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """What model_placement would return, with the topic of each reason; or the message of its failure as C(error)."""
    try:
        parameters = _checked(question)
        as_fits = parameters.get("max_model_len") == AS_FITS
        if as_fits:
            parameters.pop("max_model_len")
        case = _placement_case.read(parameters)
        if as_fits:
            case = _fitted(case)
    except AirgapError as error:
        return {"error": str(error)}
    outcome = _placement.evaluate(case)
    topics = [finding.topic for finding in outcome.findings if finding.level != NOTE]
    return {"error": None, "topics": topics, **_placement_remedies.place(case)}


def _fitted(case: Case) -> Case:
    figures = _placement.evaluate(case).figures
    longest = min(figures["largest_max_model_len"] or 0, figures["max_model_len"])
    return case._replace(settings=case.settings._replace(max_model_len=longest)) if longest > 0 else case


def _checked(question: Mapping[str, Any]) -> dict[str, Any]:
    """A question of a person is a dictionary whose values nobody has checked yet."""
    unknown = sorted(str(key) for key in question if key not in _WHOLE + _OTHERS)
    if unknown:
        raise AirgapError(f"a case has {', '.join(unknown)}, which are no options of model_placement")
    if not isinstance(question.get("path"), str):
        raise AirgapError(f"a case has the path {question.get('path')!r}; the directory of a model is needed")
    parameters = {key: value for key, value in question.items() if value is not None}
    for key in _WHOLE:
        if key in parameters:
            parameters[key] = _whole(parameters[key], key)
    if "gpu_memory_utilization" in parameters:
        try:
            parameters["gpu_memory_utilization"] = float(parameters["gpu_memory_utilization"])
        except (TypeError, ValueError) as error:
            raise AirgapError(
                f"gpu_memory_utilization is {parameters['gpu_memory_utilization']!r}; a number is needed"
            ) from error
    for key, kind in (("image", dict), ("host", dict), ("disks", list)):
        if not isinstance(parameters.get(key, kind()), kind):
            raise AirgapError(f"{key} is {parameters[key]!r}; a {'dictionary' if kind is dict else 'list'} is needed")
    return parameters


def _whole(value: Any, key: str) -> int:
    try:
        if isinstance(value, bool) or int(value) != float(value):
            raise ValueError("no whole number")
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise AirgapError(f"{key} is {value!r}; a whole number is needed") from error
