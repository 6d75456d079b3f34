# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the report of nvidia-smi -q -x, and the two things that it leaves out: compute capability and MIG profiles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from xml.etree import ElementTree

from ansible_collections.airgap.inference.plugins.module_utils import _gpu_failures
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

MAX_OUTPUT = 64 * 1024 * 1024

# What NVML answers in the place of a value when the device itself does not answer.
_DEVICE_ERRORS = {
    "gpu is lost": "GPU is lost",
    "gpu is inaccessible": "GPU is lost",
    "unknown error": "GPU is lost",
    "gpu requires reset": "GPU requires reset",
}

_DOCTYPE = re.compile(r"""<!DOCTYPE\s+nvidia_smi_log\s+SYSTEM\s+(?:"[^"<>]*"|'[^'<>]*')\s*>""")

# nvidia-smi -L: "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-...)", and under it "  MIG 3g.40gb     Device  0: (UUID: MIG-...)".
_LISTED_GPU = re.compile(r"^GPU +\d+: .*\(UUID: (GPU-[0-9A-Za-z-]+)\)")
_LISTED_INSTANCE = re.compile(r"^\s+MIG +(\S+) +Device +(\d+): \(UUID: (MIG-[0-9A-Za-z/-]+)\)")

# Reasons for other clocks than the highest that are nobody's fault: nothing to do, or the operator's own setting.
_HARMLESS = ("gpu_idle", "applications_clocks_setting", "sync_boost", "display_clocks_setting", "display_clock_setting")


class Instance(NamedTuple):
    """What nvidia-smi -L says of a MIG device."""

    profile: str
    uuid: str


def parse(document: str) -> dict[str, Any]:
    """Read the XML report. Every driver writes a DOCTYPE line; anything that could define entities is refused."""
    if len(document) > MAX_OUTPUT:
        raise AirgapError(f"nvidia-smi wrote more than {MAX_OUTPUT} bytes: this is not its report")
    plain = _DOCTYPE.sub("", document, count=1)
    if "<!DOCTYPE" in plain or "<!ENTITY" in plain:
        raise AirgapError(
            "The report of nvidia-smi carries its own document type definition: it is not nvidia-smi's, and is not read"
        )
    try:
        root = ElementTree.fromstring(plain)
    except (ElementTree.ParseError, ValueError) as error:
        raise AirgapError(
            f"The report of nvidia-smi is not complete XML ({error}): it stopped half-way, or something wrote into it"
        ) from error
    if root.tag != "nvidia_smi_log":
        raise AirgapError(f"The report of nvidia-smi begins with the element {root.tag!r} instead of 'nvidia_smi_log'")
    elements = root.findall("gpu")
    _require_answers(elements)
    gpus = [_gpu(index, element) for index, element in enumerate(elements)]
    attached = _integer(_text(root, "attached_gpus"))
    if not gpus:
        raise AirgapError(f"nvidia-smi says 'No devices were found': {_gpu_failures.meaning('No devices were found')}")
    if attached is not None and attached > len(gpus):
        raise AirgapError(
            f"The driver has {attached} GPUs and nvidia-smi describes {len(gpus)} of them ({listing(gpus)}): "
            f"{_gpu_failures.meaning('GPU is lost')}"
        )
    return {
        "gpus": gpus,
        # Branches from 590 on name these two anew.
        "driver_version": _text(root, "driver_version") or _text(root, "kmd_version"),
        "cuda_version": _text(root, "cuda_version") or _text(root, "cuda_umd_version"),
    }


def compute_capabilities(csv: str) -> dict[str, str]:
    """By UUID, from --query-gpu=uuid,compute_cap --format=csv,noheader; nothing where nvidia-smi does not know the field."""
    found = (re.match(r"^(GPU-[0-9A-Za-z-]+), *(\d+\.\d+)\s*$", line) for line in csv.splitlines())
    return {match[1]: match[2] for match in found if match}


def instances(listed: str) -> dict[tuple[str, int], Instance]:
    """The MIG devices that nvidia-smi -L names, by their GPU's UUID and their own index."""
    found: dict[tuple[str, int], Instance] = {}
    uuid = ""
    for line in listed.splitlines():
        gpu = _LISTED_GPU.match(line)
        instance = _LISTED_INSTANCE.match(line)
        if gpu:
            uuid = gpu[1]
        elif instance and uuid:
            found[uuid, int(instance[2])] = Instance(instance[1], instance[3])
    return found


def listing(gpus: list[dict[str, Any]]) -> str:
    return ", ".join(f"{gpu['index']} {gpu['name']} at {gpu['pci_address']}" for gpu in gpus)


def _require_answers(elements: list[ElementTree.Element]) -> None:
    """Refuse a report in which GPUs do not answer, and name all of them."""
    silent = list(_silent(elements))
    if silent:
        meanings = dict.fromkeys(_gpu_failures.meaning(failure) for _said, failure in silent)
        raise AirgapError(f"{', '.join(said for said, _failure in silent)}: {'; '.join(meanings)}")


def _silent(elements: list[ElementTree.Element]) -> Iterator[tuple[str, str]]:
    for index, element in enumerate(elements):
        for path in ("uuid", "product_name", "persistence_mode", "fb_memory_usage/total", "temperature/gpu_temp"):
            body = (element.findtext(path) or "").strip()
            failure = _DEVICE_ERRORS.get(body.lower())
            if failure:
                yield f"GPU {index} at {_address(element)} answers '{body}' when asked for its {path}", failure
                break


def _address(element: ElementTree.Element) -> str:
    return _text(element, "pci/pci_bus_id") or element.get("id") or "an unknown address"


def _gpu(index: int, element: ElementTree.Element) -> dict[str, Any]:
    address = _address(element)
    uuid = _text(element, "uuid")
    if uuid is None:
        raise AirgapError(f"The report of nvidia-smi states no uuid for GPU {index} at {address}")
    ecc = _ecc(element)
    mig = _mig(element)
    power = _power(element)
    reasons = _clock_reasons(element)
    return {
        "index": index,
        "uuid": uuid,
        "name": _text(element, "product_name"),
        "architecture": _text(element, "product_architecture"),
        # The report has none; whoever can ask nvidia-smi again fills it in.
        "compute_capability": None,
        "serial": _text(element, "serial"),
        "pci_address": address,
        "memory_mib": _integer(_text(element, "fb_memory_usage/total")),
        "memory_used_mib": _integer(_text(element, "fb_memory_usage/used")),
        "persistence": _text(element, "persistence_mode") == "Enabled",
        "ecc_mode": ecc["mode"],
        "ecc": ecc,
        "row_remap": {
            "corrected": _integer(_text(element, "remapped_rows/remapped_row_corr")),
            "uncorrected": _integer(_text(element, "remapped_rows/remapped_row_unc")),
            "pending": _truth(_text(element, "remapped_rows/remapped_row_pending")),
            "failure": _truth(_text(element, "remapped_rows/remapped_row_failure")),
        },
        "retired_pages": {
            "single_bit": _integer(_text(element, "retired_pages/multiple_single_bit_retirement/retired_count")),
            "double_bit": _integer(_text(element, "retired_pages/double_bit_retirement/retired_count")),
            "pending": _truth(_text(element, "retired_pages/pending_retirement")),
        },
        "mig_mode": mig["mode"],
        "mig": mig,
        "temperature_celsius": _integer(_text(element, "temperature/gpu_temp")),
        "power_limit_watts": power["limit"],
        "power": power,
        "throttle_reasons": [reason for reason in reasons if reason not in _HARMLESS],
        "clock_reasons": [reason for reason in reasons if reason in _HARMLESS],
        "recovery_action": _recovery_action(element),
        "fabric": _fabric(element),
        "processes": [_process(process) for process in element.findall("processes/process_info")],
        "vbios_version": _text(element, "vbios_version"),
    }


def _ecc(element: ElementTree.Element) -> dict[str, Any]:
    errors = element.find("ecc_errors")
    return {
        "mode": _mode(_text(element, "ecc_mode/current_ecc")),
        "pending": _mode(_text(element, "ecc_mode/pending_ecc")),
        "volatile_corrected": _count(errors, "volatile", "correctable", "single_bit"),
        "volatile_uncorrected": _count(errors, "volatile", "uncorrectable", "double_bit"),
        "aggregate_corrected": _count(errors, "aggregate", "correctable", "single_bit"),
        "aggregate_uncorrected": _count(errors, "aggregate", "uncorrectable", "double_bit"),
        "sram_threshold_exceeded": _truth(_text(element, "ecc_errors/aggregate/sram_threshold_exceeded")),
        "channel_repair_pending": _truth(_text(element, "ecc_errors/channel_repair_pending")),
        "tpc_repair_pending": _truth(_text(element, "ecc_errors/tpc_repair_pending")),
        "unrepairable_memory": _truth(_text(element, "ecc_errors/unrepairable_memory")),
    }


def _count(errors: ElementTree.Element | None, since: str, kind: str, old: str) -> int | None:
    """Errors of a kind, in all memories together: by memory since Turing, as single and double bits with a total before."""
    section = None if errors is None else errors.find(since)
    if section is None:
        return None
    wanted = re.compile(rf"[a-z]+_{kind}(?:_[a-z]+)?")
    counts = [_integer((child.text or "").strip()) for child in section if wanted.fullmatch(child.tag)]
    counts.append(_integer(_text(section, f"{old}/total")))
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _mig(element: ElementTree.Element) -> dict[str, Any]:
    return {
        "mode": _mode(_text(element, "mig_mode/current_mig")),
        "pending": _mode(_text(element, "mig_mode/pending_mig")),
        "instances": [
            {
                "index": _integer(_text(device, "index")),
                "gi_id": _integer(_text(device, "gpu_instance_id")),
                "ci_id": _integer(_text(device, "compute_instance_id")),
                # The report has no profile, and few drivers write the uuid: nvidia-smi -L has both.
                "profile": None,
                "uuid": _text(device, "uuid"),
                "memory_mib": _integer(_text(device, "fb_memory_usage/total")),
                "memory_used_mib": _integer(_text(device, "fb_memory_usage/used")),
                "multiprocessors": _integer(_text(device, "device_attributes/shared/multiprocessor_count")),
            }
            for device in element.findall("mig_devices/mig_device")
        ],
    }


def _power(element: ElementTree.Element) -> dict[str, float | None]:
    # Branches before 530 call it power_readings, and 550 divided the draw in two.
    readings = element.find("gpu_power_readings")
    if readings is None:
        readings = element.find("power_readings")

    def watts(*names: str) -> float | None:
        values = (None if readings is None else _number(_text(readings, name)) for name in names)
        return next((value for value in values if value is not None), None)

    return {
        "draw": watts("instant_power_draw", "power_draw", "average_power_draw"),
        "limit": watts("current_power_limit", "power_limit"),
        "default_limit": watts("default_power_limit"),
        "min_limit": watts("min_power_limit"),
        "max_limit": watts("max_power_limit"),
    }


def _clock_reasons(element: ElementTree.Element) -> list[str]:
    """The active ones. Branches before 535 call them clocks_throttle_reasons."""
    found = []
    for name in ("clocks_event_reason", "clocks_throttle_reason"):
        for child in element.findall(f"{name}s/*"):
            if (child.text or "").strip() == "Active" and child.tag.startswith(f"{name}_"):
                found.append(child.tag[len(name) + 1 :])
    return found


def _recovery_action(element: ElementTree.Element) -> str | None:
    """What the driver wants done, in its words. Branches before 570 asked two questions in its place."""
    action = _text(element, "gpu_recovery_action")
    if action is not None:
        return action
    reset = _truth(_text(element, "gpu_reset_status/reset_required"))
    drain = _truth(_text(element, "gpu_reset_status/drain_and_reset_recommended"))
    if reset is None and drain is None:
        return None
    return "Reset" if reset else "Drain and Reset" if drain else "None"


def _fabric(element: ElementTree.Element) -> dict[str, str | None] | None:
    """How far the GPU's registration with the NVLink fabric is; None for a GPU outside one, and for Ampere, which does not say."""
    state = _text(element, "fabric/state")
    if state is None:
        return None
    return {
        "state": state,
        "status": _text(element, "fabric/status"),
        "clique_id": _text(element, "fabric/cliqueId"),
        "cluster_uuid": _text(element, "fabric/clusterUuid"),
    }


def _process(element: ElementTree.Element) -> dict[str, Any]:
    return {
        "pid": _integer(_text(element, "pid")),
        "name": _text(element, "process_name"),
        "type": _text(element, "type"),
        "memory_mib": _integer(_text(element, "used_memory")),
        "gi_id": _integer(_text(element, "gpu_instance_id")),
        "ci_id": _integer(_text(element, "compute_instance_id")),
    }


def _text(element: ElementTree.Element, path: str) -> str | None:
    """The value, or None where nvidia-smi writes one of its words for 'this GPU has no such thing'."""
    value = (element.findtext(path) or "").strip()
    absent = ("", "N/A", "[N/A]", "Not Supported", "[Not Supported]", "Insufficient Permissions")
    if value in absent or value.startswith("Requested functionality"):
        return None
    return value


def _mode(value: str | None) -> str | None:
    return value.lower() if value in ("Enabled", "Disabled") else None


def _truth(value: str | None) -> bool | None:
    return {"Yes": True, "No": False}.get(value or "")


def _integer(value: str | None) -> int | None:
    """'81559 MiB', '36 C': a number and its unit."""
    match = re.match(r"-?\d{1,15}(?=\s|$)", value or "")
    return int(match.group()) if match else None


def _number(value: str | None) -> float | None:
    match = re.match(r"-?\d{1,15}(?:\.\d{1,6})?(?=\s|$)", value or "")
    return float(match.group()) if match else None
