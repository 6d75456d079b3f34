# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page: a table a host, a paragraph a problem, and the same as data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _preflight_report
from ansible_collections.airgap.inference.plugins.module_utils._preflight_problem import WIDTH

GPU = {"index": 0, "name": "NVIDIA H100 80GB HBM3", "uuid": "GPU-1", "pci_address": "0000:1b:00.0", "memory_mib": 81559}
CHAT = {"name": "chat", "model": "small", "gpus": 1, "options": {"max_model_len": 131072}}
FITS: dict[str, Any] = {
    "error": None,
    "verdict": "fits",
    "reasons": [],
    "topics": [],
    "remedies": [],
    "changes": [],
    "notes": [],
    "weights_bytes_per_gpu": 15 * 2**30,
    "weights_estimated": False,
    "kv_cache_tokens": 452048,
    "max_concurrency": 3.45,
    "max_model_len": 131072,
}
SHORT = {
    **FITS,
    "verdict": "does not fit",
    "reasons": ["one request needs 16 GiB"],
    "topics": ["memory"],
    "remedies": ["Set max_model_len 24832 instead of 131072: fits", "Set tensor_parallel_size 2 instead of 1: fits"],
    "changes": [
        {"max_model_len": 24832},
        {"tensor_parallel_size": 2, "pipeline_parallel_size": 1, "data_parallel_size": 1},
    ],
    "kv_cache_tokens": 29920,
    "max_concurrency": 0.23,
}


def row(**changes: Any) -> dict[str, Any]:
    return {
        "instance": "chat",
        "model": "small",
        "gpus": [0],
        "variable": "airgap_instances",
        "position": 0,
        "case": 0,
        "case_at_most": None,
        "unknown": [],
        "refused": [],
        **changes,
    }


def host(name: str = "gpu1", **changes: Any) -> dict[str, Any]:
    return {
        "host": name,
        "not_reached": None,
        "system": "Debian 13.2 x86_64",
        "driver_version": "580.95.05",
        "gpus": [GPU],
        "gpu_source": "as the driver shows them",
        "notes": [],
        "rows": [row()],
        "instances": [CHAT],
        **changes,
    }


def report(
    *hosts: dict[str, Any],
    answers: list[dict[str, Any]] | None,
    problems: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    plan = {"hosts": list(hosts) or [host()], "cases": [{}], "problems": problems or []}
    found = _preflight_report.report(plan, answers, **changes)
    assert json.loads(json.dumps(found)) == found
    assert max(len(line) for line in found["lines"]) <= WIDTH
    assert not [line for line in found["lines"] if '"' in line]
    return found


def text(found: dict[str, Any]) -> str:
    return " ".join("\n".join(found["lines"]).split())


def test_a_site_that_fits() -> None:
    found = report(answers=[FITS], site="clinic-a", created="2026-11-21T00:00:00Z")
    assert found["lines"] == [
        "gpu1: Debian 13.2 x86_64, 1 x NVIDIA H100 80GB HBM3, 81559 MiB, driver 580.95.05",
        "  instance  model  GPUs  weights GiB  KV tokens  concurrency  verdict",
        "  chat      small  0            15.0    452,048        3.45x  fits",
        "",
        "1 host, 1 instance: fits 1; nothing stops a deploy.",
    ]
    assert found["stops"] == []
    document = found["document"]
    assert (document["site"], document["created"], document["can_work"], document["problems"]) == (
        "clinic-a",
        "2026-11-21T00:00:00Z",
        True,
        [],
    )
    assert document["hosts"][0]["instances"][0]["kv_cache_tokens"] == 452048


def test_what_does_not_fit_stops_and_is_told_with_place_and_remedies() -> None:
    found = report(answers=[SHORT])
    assert found["stops"] == ["gpu1: instance chat: small does not fit"]
    assert not found["document"]["can_work"]
    for words in (
        "1. gpu1: instance chat: small does not fit",
        "What: one request needs 16 GiB",
        "Where: airgap_instances[0].options.gpu_memory_utilization is not stated",
        "airgap_instances[0].options.max_model_len is 131072",
        "Remedy: Set max_model_len 24832 instead of 131072: fits",
        "Set tensor_parallel_size 2 instead of 1: fits (gpus 2 instead of 1, and the parallel sizes in options)",
        "does not fit 1; 1 problem stops a deploy.",
    ):
        assert words in text(found)


@pytest.mark.parametrize("verdict", ["tight", "unknown"])
def test_what_is_tight_or_unknown_is_shown_and_stops_nothing(verdict: str) -> None:
    found = report(answers=[{**SHORT, "verdict": verdict}])
    assert found["stops"] == []
    assert found["document"]["can_work"]
    assert "1. gpu1: instance chat: small" in text(found)
    assert "nothing stops a deploy, 1 worth knowing" in text(found)


def test_hosts_with_the_same_problem_share_a_paragraph_and_each_has_its_table() -> None:
    found = report(host("gpu1"), host("gpu2"), host("gpu3"), answers=[SHORT])
    assert found["stops"] == ["gpu1, gpu2, gpu3: instance chat: small does not fit"]
    assert len([line for line in found["lines"] if line.startswith("gpu")]) == 3


def test_a_gpu_that_a_reason_names_is_found() -> None:
    short = {**SHORT, "reasons": ["GPU 0 (NVIDIA H100 80GB HBM3) has 70 GiB in use"], "topics": ["memory_used"]}
    assert "GPU 0 (NVIDIA H100 80GB HBM3, GPU-1, 0000:1b:00.0) has 70 GiB in use" in text(report(answers=[short]))


def test_a_refused_instance_is_not_hidden_by_one_that_fits() -> None:
    found = report(host(rows=[row(case=None, refused=["the image is not in the bundle"])]), answers=[])
    assert found["stops"] == ["gpu1: instance chat: small cannot work"]
    assert "chat small 0 - - - cannot work" in text(found)


def test_without_the_depot_nothing_is_known() -> None:
    found = report(answers=None, why="The depot has nothing to give", problems=[])
    assert found["document"]["hosts"][0]["instances"][0]["verdict"] == "unknown"
    assert "The depot has nothing to give" in text(found)


def test_a_model_that_cannot_be_read_stops() -> None:
    found = report(answers=[{"error": "/srv/airgap/models/small/r1 holds no config.json"}])
    assert found["stops"] == ["gpu1: instance chat: small cannot work"]


def test_a_host_that_was_not_reached_is_a_row() -> None:
    lost = {
        "hosts": ["gpu9"], "instance": "", "level": "stops", "what": ["Connection refused"], "where": [], "remedies": [], "verdict": "not reached",
    }  # fmt: skip
    found = report(host("gpu9", not_reached="Connection refused", rows=[row(case=None)]), answers=[], problems=[lost])
    assert found["document"]["hosts"][0]["instances"][0]["verdict"] == "not reached"
    assert len(found["document"]["problems"]) == 1
    assert "gpu9: not reached" in found["lines"]
    assert found["stops"] == ["gpu9: not reached"]


def test_an_ambiguous_name_refuses_only_what_fits_on_none() -> None:
    gpu = {"index": 0, "name": "A100", "memory_mib": 40960, "memories": [40960, 81920]}
    staged = host(
        gpus=[gpu], driver_version=None, gpu_source="as gpu_host_expected states them", rows=[row(case_at_most=1)]
    )
    found = report(staged, answers=[SHORT, FITS])
    assert found["stops"] == []
    assert "are sold with 40960, 81920 MiB; with the most the verdict is: fits" in text(found)
    assert "State gpu_host_expected.memory_mib" in text(found)
    found = report(staged, answers=[SHORT, SHORT])
    assert found["stops"] == ["gpu1: instance chat: small does not fit"]
    assert "does not fit either" in text(found)
    assert report(staged, answers=[FITS, FITS])["document"]["hosts"][0]["instances"][0]["verdict"] == "fits"


def test_long_names_are_cut() -> None:
    rows = [row(instance="i" * 32, model="m" * 90, gpus=list(range(16)))]
    found = report(host(name="h" * 60, rows=rows), answers=[FITS])
    assert "0-15" in text(found)
