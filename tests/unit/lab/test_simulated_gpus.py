# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import csv
import io
from typing import Any
from xml.etree import ElementTree

import nvidia_ctk
import nvidia_smi
import pytest
from airgap_lab import gpus
from nvidia_smi_refusal import Refusal
from simulated_gpus import Host

VERSION = "580.105.08"


def host(faults: dict[str, Any] | None = None, gpu_faults: dict[str, Any] | None = None, **changes: Any) -> Host:
    description = gpus.describe("gpu1")
    description["faults"] = faults or {}
    description["gpus"][1]["faults"] = gpu_faults or {}
    return Host(description, changes.get("driver", VERSION), changes.get("persistence", True))


def test_xml_reads_back() -> None:
    log = ElementTree.fromstring(nvidia_smi.answer(host(), VERSION, ["-q", "-x"]))
    assert log.findtext("driver_version") == VERSION
    assert log.findtext("cuda_version") == "13.0"
    assert log.findtext("attached_gpus") == "2"
    first = log.findall("gpu")[0]
    assert first.get("id") == first.findtext("pci/pci_bus_id") == "00000000:18:00.0"
    assert first.findtext("product_name") == "NVIDIA H100 80GB HBM3"
    assert first.findtext("fb_memory_usage/total") == "81559 MiB"
    assert first.findtext("persistence_mode") == "Enabled"
    assert first.findtext("ecc_errors/volatile/dram_uncorrectable") == "0"
    assert len({gpu.findtext("uuid") for gpu in log.findall("gpu")}) == 2


def test_xml_shows_a_missing_a_lost_and_a_failing_gpu() -> None:
    missing = ElementTree.fromstring(nvidia_smi.answer(host(gpu_faults={"missing": True}), VERSION, ["-q", "-x"]))
    assert missing.findtext("attached_gpus") == "1"
    lost = ElementTree.fromstring(nvidia_smi.answer(host(gpu_faults={"lost": True}), VERSION, ["-q", "-x"]))
    assert [gpu.findtext("uuid") == "GPU is lost" for gpu in lost.findall("gpu")] == [False, True]
    failing = ElementTree.fromstring(
        nvidia_smi.answer(host(gpu_faults={"ecc_uncorrectable": 3}), VERSION, ["-q", "-x"])
    )
    assert failing.findall("gpu")[1].findtext("ecc_errors/aggregate/dram_uncorrectable") == "3"


def test_csv_reads_back() -> None:
    query = ["--query-gpu=index,uuid,memory.total,persistence_mode"]
    rows = list(
        csv.reader(io.StringIO(nvidia_smi.answer(host(), VERSION, [*query, "--format=csv"])), skipinitialspace=True)
    )
    assert rows[0] == ["index", "uuid", "memory.total [MiB]", "persistence_mode"]
    assert rows[1][2:] == ["81559 MiB", "Enabled"]
    bare = nvidia_smi.answer(host(persistence=False), VERSION, [*query, "--format=csv,noheader,nounits"])
    assert bare.splitlines()[1].endswith(", 81559, Disabled")


def test_listing_names_every_gpu() -> None:
    lines = nvidia_smi.answer(host(), VERSION, ["-L"]).splitlines()
    assert lines[1].startswith("GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-")


@pytest.mark.parametrize(
    ("sick", "code", "words"),
    [
        (host(driver=""), 9, "couldn't communicate with the NVIDIA driver"),
        (host(faults={"driver_not_loaded": True}), 9, "couldn't communicate with the NVIDIA driver"),
        (host(driver="570.86.15"), 18, "Driver/library version mismatch\nNVML library version: 580.105"),
        (host(gpu_faults={"lost": True}), 15, "GPU1: 0000:29:00.0: GPU is lost"),
    ],
)
def test_faults_end_with_the_real_codes(sick: Host, code: int, words: str) -> None:
    with pytest.raises(Refusal) as refusal:
        nvidia_smi.answer(sick, VERSION, ["-L"])
    assert refusal.value.code == code
    assert words in str(refusal.value)


def test_a_host_without_gpus_says_so() -> None:
    with pytest.raises(Refusal, match="No devices were found") as refusal:
        nvidia_smi.answer(Host({"gpus": []}, VERSION, persistence=False), VERSION, ["-q", "-x"])
    assert refusal.value.code == 6


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(Refusal, match=r'"memory\.colour" is not a valid field') as refusal:
        nvidia_smi.answer(host(), VERSION, ["--query-gpu=memory.colour", "--format=csv"])
    assert refusal.value.code == 2


def test_cdi_names_every_gpu_by_index_and_uuid_and_all_of_them() -> None:
    text = nvidia_ctk.specification(host())
    for name in ("0", "1", host().gpus[0]["uuid"], "all"):
        assert f'- name: "{name}"\n' in text
    assert text.count("AIRGAP_LAB_GPU_1=") == 3


def test_a_device_brings_its_node_to_the_container() -> None:
    text = nvidia_ctk.specification(host())
    assert text.count("- path: /dev/nvidia1\n") == 3
    assert text.count("- path: /dev/nvidiactl\n") == 1


def test_gpus_keep_their_identity_and_differ_between_hosts() -> None:
    assert gpus.describe("gpu1") == gpus.describe("gpu1")
    assert gpus.describe("gpu1")["gpus"][0]["uuid"] != gpus.describe("gpu2")["gpus"][0]["uuid"]
