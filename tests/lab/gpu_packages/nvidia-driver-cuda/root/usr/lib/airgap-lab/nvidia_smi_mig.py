# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`nvidia-smi mig`: instances are listed, made and taken away as in NVIDIA's MIG User Guide ("Getting Started with MIG")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mig_devices
from mig_profiles import Profile
from nvidia_smi_refusal import IN_USE, INSUFFICIENT, INVALID, NOT_FOUND, Refusal, chosen, need_root
from simulated_gpus import Host

Gpu = dict[str, Any]
Chosen = list[tuple[int, Gpu]]
WITH_VALUE = ("-i", "--id", "-gi", "--gpu-instance-id", "-ci", "--compute-instance-id", "-cgi", "--create-gpu-instance")
LONG = {
    "--id": "-i",
    "--list-gpu-instance-profiles": "-lgip",
    "--list-gpu-instance-possible-placements": "-lgipp",
    "--list-gpu-instances": "-lgi",
    "--list-compute-instances": "-lci",
    "--create-gpu-instance": "-cgi",
    "--default-compute-instance": "-C",
    "--destroy-compute-instance": "-dci",
    "--destroy-gpu-instance": "-dgi",
    "--gpu-instance-id": "-gi",
    "--compute-instance-id": "-ci",
}
VERBS = ("-lgip", "-lgipp", "-lgi", "-lci", "-cgi", "-dci", "-dgi")


def answer(host: Host, arguments: Sequence[str]) -> str:
    options = _options(arguments)
    verbs = [verb for verb in VERBS if verb in options]
    if len(verbs) != 1:
        raise Refusal(INVALID, "Invalid combination of input arguments. Please run 'nvidia-smi mig -h' for help.")
    verb = verbs[0]
    gpus = chosen(host, options.get("-i", ""))
    if verb in ("-lgip", "-lgipp"):
        capable = [(index, gpu) for index, gpu in gpus if mig_devices.profiles(gpu)]
        if not capable:
            raise Refusal(NOT_FOUND, "No MIG-supported devices found.")
        return _profiles(host, capable) if verb == "-lgip" else _placements(capable)
    divided = [(index, gpu) for index, gpu in gpus if mig_devices.enabled(host, gpu)]
    if not divided:
        raise Refusal(NOT_FOUND, "No MIG-enabled devices found.")
    if verb == "-lgi":
        return _gpu_instances(host, divided)
    if verb == "-lci":
        return _compute_instances(host, divided)
    need_root()
    if verb == "-cgi":
        return create(host, divided, options["-cgi"].split(","), compute="-C" in options)
    return destroy(host, divided, verb, options.get("-gi", ""))


def _options(arguments: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        name, separator, value = word.partition("=")
        if not separator and name in WITH_VALUE:
            value = next(words, "")
        options[LONG.get(name, name)] = value
    return options


def made(host: Host, gpu: Gpu) -> list[dict[str, Any]]:
    return host.state.instances.get(gpu["uuid"], [])


def size(gpu: Gpu, instance: dict[str, Any]) -> Profile:
    found = mig_devices.profile(gpu, instance["profile"])
    assert found is not None, instance
    return found


def place(host: Host, gpu: Gpu, wanted: Profile) -> int | None:
    """Where the driver puts an instance: at the first of its starts that is free."""
    there = made(host, gpu)
    if sum(instance["profile"] == wanted.name for instance in there) >= wanted.total:
        return None
    taken = {slot for other in there for slot in range(other["start"], other["start"] + size(gpu, other).slices)}
    return next((start for start in wanted.starts if not taken & set(range(start, start + wanted.slices))), None)


def _room(host: Host, gpu: Gpu, wanted: Profile) -> int:
    """How many more of a size there is room for."""
    trial = Host(host.description, host.driver, host.persistence)
    trial.state.instances[gpu["uuid"]] = list(made(host, gpu))
    count = 0
    while (start := place(trial, gpu, wanted)) is not None:
        made(trial, gpu).append({"profile": wanted.name, "start": start})
        count += 1
    return count


def create(host: Host, gpus: Chosen, sizes: Sequence[str], compute: bool) -> str:
    """What was made before one that finds no room stays, as in life."""
    lines: list[str] = []
    for index, gpu in gpus:
        for name in sizes:
            wanted = mig_devices.profile(gpu, name)
            start = None if wanted is None else place(host, gpu, wanted)
            if wanted is None or start is None:
                code, reason = (
                    (INVALID, "Invalid Argument") if wanted is None else (INSUFFICIENT, "Insufficient Resources")
                )
                lines.append(f"Unable to create a GPU instance on GPU {index:2} using profile {name}: {reason}")
                lines.append(f"Failed to create GPU instances: {reason}")
                raise Refusal(code, "\n".join(lines))
            number = wanted.instance(start)
            instance = {"profile": wanted.name, "start": start, "id": number, "compute": compute}
            host.state.instances.setdefault(gpu["uuid"], []).append(instance)
            profile = f"using profile MIG {wanted.name} (ID {wanted.number:2})"
            lines.append(f"Successfully created GPU instance ID {number:2} on GPU {index:2} {profile}")
            if compute:
                profile = f"using profile MIG {wanted.name.partition('+')[0]} (ID {wanted.compute:2})"
                lines.append(
                    f"Successfully created compute instance ID  0 on GPU {index:2} GPU instance ID {number:2} {profile}"
                )
    return "\n".join(lines)


def destroy(host: Host, gpus: Chosen, verb: str, only: str) -> str:
    kind = "compute instance" if verb == "-dci" else "GPU instance"
    lines: list[str] = []
    for index, gpu in gpus:
        for instance in list(made(host, gpu)):
            if (verb == "-dci" and not instance["compute"]) or (only and only != str(instance["id"])):
                continue
            where = f"ID  0 from GPU {index:2} GPU instance ID {instance['id']:2}"
            if verb == "-dgi":
                where = f"ID {instance['id']:2} from GPU {index:2}"
            # A GPU instance is in use as long as it has a compute instance, that one as long as somebody computes.
            if host.processes(index) or (verb == "-dgi" and instance["compute"]):
                lines.append(f"Unable to destroy {kind} {where}: In use by another client")
                lines.append(f"Failed to destroy {kind}s: In use by another client")
                raise Refusal(IN_USE, "\n".join(lines))
            lines.append(f"Successfully destroyed {kind} {where}")
            if verb == "-dci":
                instance["compute"] = False
            else:
                made(host, gpu).remove(instance)
    if not lines:
        raise Refusal(NOT_FOUND, f"No {kind}s found: Not Found")
    return "\n".join(lines)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    width = len(rows[0][0]) - 2
    rule = "+" + "-" * width + "+"
    lines = [rule, *(f"| {line:<{width - 1}}|" for line in (title, *head)), "|" + "=" * width + "|"]
    for row in rows:
        lines += [*row, rule]
    return "\n".join(lines)


def _profiles(host: Host, gpus: Chosen) -> str:
    head = (
        "GPU   Name               ID    Instances   Memory     P2P    SM    DEC   ENC",
        "                               Free/Total   GiB              CE    JPEG  OFA",
    )
    rows = []
    for index, gpu in gpus:
        for one in mig_devices.profiles(gpu):
            multiprocessors, decoders, encoders, copy, jpeg, flow = one.engines
            free = f"{_room(host, gpu, one)}/{one.total}"
            rows.append(
                (
                    f"|{index:4}  MIG {one.name:<16}{one.number:>2}{free:>8}{one.memory_gib:>12.2f}       No"
                    f"{multiprocessors:>7}{decoders:>6}{encoders:>6}   |",
                    f"|{'':61}{copy:>3}{jpeg:>6}{flow:>6}   |",
                )
            )
    return _table("GPU instance profiles:", head, rows)


def _placements(gpus: Chosen) -> str:
    lines = []
    for index, gpu in gpus:
        for one in mig_devices.profiles(gpu):
            starts = ",".join(str(start) for start in sorted(one.starts))
            word = "Placements:" if len(one.starts) > 1 else "Placement :"
            lines.append(f"GPU {index:2} Profile ID {one.number:2} {word} {{{starts}}}:{one.slices}")
    return "\n".join(lines)


def _gpu_instances(host: Host, gpus: Chosen) -> str:
    head = (
        "GPU   Name               Profile  Instance   Placement",
        "                           ID       ID       Start:Size",
    )
    rows = []
    for index, gpu in gpus:
        for one in sorted(made(host, gpu), key=lambda instance: (size(gpu, instance).slices, instance["id"])):
            there = size(gpu, one)
            where = f"{one['start']}:{there.slices}"
            rows.append((f"|{index:4}  MIG {there.name:<17}{there.number:>3}{one['id']:>9}{where:>13}     |",))
    if not rows:
        raise Refusal(NOT_FOUND, "No GPU instances found: Not Found")
    return _table("GPU instances:", head, rows)


def _compute_instances(host: Host, gpus: Chosen) -> str:
    head = (
        "GPU     GPU       Name             Profile   Instance   Placement",
        "      Instance                       ID        ID       Start:Size",
        "        ID",
    )
    rows = []
    for index, gpu in gpus:
        for device in mig_devices.devices(host, gpu):
            name = device.profile.name.partition("+")[0]
            where = f"0:{int(name[0])}"
            rows.append(
                (
                    f"|{index:4}{device.gpu_instance:>7}       MIG {name:<16}{device.profile.compute:>2}{0:>10}{where:>13}     |",
                )
            )
    if not rows:
        raise Refusal(NOT_FOUND, "No compute instances found: Not Found")
    return _table("Compute instances:", head, rows)
