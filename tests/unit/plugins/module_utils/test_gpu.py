# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How nvidia-smi is asked, and which of its failures is met."""

from __future__ import annotations

import pathlib
import stat
import time
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gpu, _gpu_report
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from hypothesis import given, settings
from hypothesis import strategies as st

FIXTURES = pathlib.Path(__file__).parent / "fixtures" / "nvidia_smi"


def report(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("status", "said", "meaning"),
    [
        (
            9,
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest "
            "NVIDIA driver is installed and running.\n",
            "modprobe nvidia",
        ),
        (
            18,
            "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.173\n",
            "Reboot the host",
        ),
        (255, "Failed to initialize NVML: Driver/library version mismatch\n", "Reboot the host"),
        (6, "No devices were found\n", "lspci -d 10de:"),
        (
            15,
            "Unable to determine the device handle for GPU3: 0000:5F:00.0: Unknown Error\n",
            "GPU3: 0000:5F:00.0.*Xid",
        ),
        (0, "Unable to determine the device handle for GPU1: 0000:44:00.0: Unknown Error\n", "GPU1: 0000:44:00.0.*Xid"),
        (255, "Failed to initialize NVML: Unknown Error\n", "daemon-reload"),
        (255, "Failed to initialize NVML: Insufficient Permissions\n", "become"),
        (16, "GPU requires reset\n", "--gpu-reset"),
        (
            1,
            "CUDA initialization: Error 802: system not yet initialized\n",
            "nvidia-fabricmanager.*exactly the driver's",
        ),
        (12, "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.\n", "libnvidia-ml.so.1 is missing"),
        (9, "some words that nobody knows\n", "modprobe nvidia"),
        (255, "some words that nobody knows\n", "exit status 255 and says 'some words that nobody knows'"),
        (0, "", "wrote no report"),
    ],
)
def test_failures_are_told_apart(status: int, said: str, meaning: str) -> None:
    for answer in (_gpu.Answer(status, said, ""), _gpu.Answer(status, "", said)):
        with pytest.raises(AirgapError, match=meaning):
            _gpu.read(answer)


def test_a_lost_gpu_beside_a_report_of_the_others() -> None:
    said = "Unable to determine the device handle for GPU2: 0000:5F:00.0: Unknown Error\n"
    for answer in (_gpu.Answer(0, said + report("h100-580.xml"), ""), _gpu.Answer(0, report("h100-580.xml"), said)):
        with pytest.raises(AirgapError, match=r"GPU2: 0000:5F:00\.0"):
            _gpu.read(answer)


def test_a_damaged_inforom_is_a_warning() -> None:
    said = "WARNING: infoROM is corrupted at gpu 0000:1B:00.0\n"
    described = _gpu.read(_gpu.Answer(14, report("h100-580.xml"), said))
    assert len(described["gpus"]) == 2
    assert described["warnings"] == [said.strip()]


def test_a_half_report_of_a_failed_run_is_not_used() -> None:
    with pytest.raises(AirgapError, match="exit status 255"):
        _gpu.read(_gpu.Answer(255, report("h100-580.xml"), ""))


def test_both_numbers_are_stated() -> None:
    gpus = _gpu_report.parse(report("h100-580.xml"))["gpus"]
    assert _gpu.count_refusal(gpus, 2) is None
    refusal = _gpu.count_refusal(gpus, 3)
    assert refusal is not None
    assert refusal.startswith(
        "3 GPUs are asked for, and the host has 2: 0 NVIDIA H100 80GB HBM3 at 00000000:1B:00.0, 1 "
    )


def program(path: pathlib.Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_the_program_is_run(tmp_path: pathlib.Path) -> None:
    answer = _gpu.ask(program(tmp_path / "nvidia-smi", 'echo "$@ $LC_ALL"; echo no >&2; exit 9'), 10)
    assert answer == _gpu.Answer(9, "-q -x C\n", "no\n")


def test_a_program_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AirgapError, match="is not installed"):
        _gpu.ask(str(tmp_path / "nvidia-smi"), 10)


def test_a_program_that_cannot_be_run(tmp_path: pathlib.Path) -> None:
    path = program(tmp_path / "nvidia-smi", "")
    (tmp_path / "nvidia-smi").write_text("#!/no/such/interpreter\n", encoding="utf-8")
    with pytest.raises(AirgapError, match="cannot be started"):
        _gpu.ask(path, 10)


def test_a_program_that_hangs_is_left_behind(tmp_path: pathlib.Path) -> None:
    started = time.monotonic()
    with pytest.raises(AirgapError, match="no answer within 1 seconds"):
        _gpu.ask(program(tmp_path / "nvidia-smi", "exec sleep 30"), 1)
    assert time.monotonic() - started < 5


def described(tmp_path: pathlib.Path, name: str, csv: str, listed: str) -> list[dict[str, Any]]:
    script = f"""case "$*" in
    "-q -x") cat {FIXTURES / name} ;;
    "--query-gpu=uuid,compute_cap --format=csv,noheader") {csv} ;;
    -L) {listed} ;;
    *) exit 1 ;;
    esac"""
    gpus: list[dict[str, Any]] = _gpu.describe(program(tmp_path / "nvidia-smi", script), 10)["gpus"]
    return gpus


def test_what_the_report_leaves_out_is_asked_for(tmp_path: pathlib.Path) -> None:
    recorded = FIXTURES / "h100-mig-575"
    first, second = described(tmp_path, "h100-mig-575.xml", f"cat {recorded}.csv", f"cat {recorded}.list")
    assert (first["compute_capability"], second["compute_capability"]) == ("9.0", "9.0")
    assert [instance["profile"] for instance in first["mig"]["instances"]] == ["3g.40gb", "1g.10gb", "1g.10gb"]
    assert first["mig"]["instances"][1]["uuid"] == "MIG-22222222-3333-5444-8555-666666666666"


def test_an_old_nvidia_smi_leaves_it_out(tmp_path: pathlib.Path) -> None:
    unknown = "echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2"
    gpu = described(tmp_path, "a100-mig-535.xml", unknown, "exit 2")[0]
    assert gpu["compute_capability"] is None
    assert [(instance["profile"], instance["uuid"]) for instance in gpu["mig"]["instances"]] == [(None, None)] * 2


def test_nothing_is_listed_where_nothing_is_divided(tmp_path: pathlib.Path) -> None:
    asked = tmp_path / "asked"
    described(tmp_path, "h100-580.xml", "exit 2", f"touch {asked}")
    assert not asked.exists()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_an_error_or_an_answer(data: st.DataObject) -> None:
    whole = report("h100-580.xml")
    cut = data.draw(st.integers(0, len(whole)))
    noise = data.draw(st.text(max_size=20))
    try:
        described = _gpu.read(_gpu.Answer(0, whole[:cut] + noise + whole[cut + data.draw(st.integers(0, 50)) :], ""))
    except AirgapError:
        return
    assert described["gpus"]
