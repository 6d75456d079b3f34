# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An nvidia-smi for tests: two H100 that can be divided, limited and reset, kept in a JSON file beside the program.

Its report is the fixture h100-580.xml; tables, messages and exit statuses have the shape of those in NVIDIA's MIG User Guide
and in the binary of the branch 550. Profiles and places are an H100's with 80 GB. This file imports nothing of the project,
because it also runs as the program.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
from typing import Any, Sequence

PROFILES = {
    "1g.10gb": (19, 7, (0, 1, 2, 3, 4, 5, 6), 1),
    "1g.10gb+me": (20, 1, (0, 1, 2, 3, 4, 5, 6), 1),
    "1g.20gb": (15, 4, (0, 2, 4, 6), 2),
    "2g.20gb": (14, 3, (0, 2, 4), 2),
    "3g.40gb": (9, 2, (0, 4), 4),
    "4g.40gb": (5, 1, (0,), 4),
    "7g.80gb": (0, 1, (0,), 8),
}
LINE = "+-------------------------------------------------------------------------------+"


class Services:
    """systemctl, with services that run; the program itself is written without the project, so only a test may call it."""

    def __init__(self, *active: str) -> None:
        self.active = list(active)
        self.calls: list[str] = []
        #: The GPUs whose driver they keep.
        self.gpus: Simulator | None = None

    def run(self, argv: Sequence[str]) -> Any:
        from ansible_collections.airgap.inference.plugins.module_utils._driver_services import Said

        if argv[1] == "is-active":
            return Said(3, "\n".join("active" if unit in self.active else "inactive" for unit in argv[2:]))
        self.calls.append(" ".join(argv[1:]))
        if argv[1] == "stop":
            self.active.remove(argv[2])
            if argv[2] == "nvidia-persistenced.service" and self.gpus:
                self.gpus.let_go()
        return Said(0, "")


class Simulator:
    """The handle that a test has on the program."""

    def __init__(self, folder: pathlib.Path, report: pathlib.Path) -> None:
        self.folder = folder
        self.program = str(folder / "nvidia-smi")
        self.file = folder / "gpus.json"
        uuids = re.findall(r"<uuid>(GPU-[^<]+)</uuid>", report.read_text(encoding="utf-8"))
        gpu = {"mig": 0, "mig_pending": 0, "gis": [], "ecc": 1, "ecc_pending": 1, "limit": 700.0, "processes": []}
        self.write(
            {"report": str(report), "uuids": uuids, "calls": [], "faults": {}, "gpus": [dict(gpu) for _uuid in uuids]}
        )
        program = pathlib.Path(self.program)
        program.write_text(
            f"#!{sys.executable}\n{pathlib.Path(__file__).read_text(encoding='utf-8')}", encoding="utf-8"
        )
        program.chmod(0o755)

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        return state

    def write(self, state: dict[str, Any]) -> None:
        self.file.write_text(json.dumps(state), encoding="utf-8")

    def set(self, index: int, **values: object) -> None:
        state = self.state
        state["gpus"][index].update(values)
        self.write(state)

    def divide(self, index: int, *profiles: str) -> None:
        gis = [{"id": 2 + at, "profile": name, "start": 0, "cis": [name]} for at, name in enumerate(profiles)]
        self.set(index, mig=1, mig_pending=1, gis=gis)

    def fault(self, name: str, value: object = True) -> None:
        state = self.state
        state["faults"][name] = value
        self.write(state)

    def let_go(self) -> None:
        """Without a client, the driver forgets what was set on a GPU."""
        state = self.state
        for gpu in state["gpus"]:
            if not gpu["processes"]:
                gpu["limit"] = 700.0
        self.write(state)

    def instances(self, index: int) -> list[str]:
        return [instance["profile"] for instance in self.state["gpus"][index]["gis"]]

    def changed(self) -> list[str]:
        """The calls that were to change something."""
        asking = re.compile(r"-q |mig .*-l")
        return [call for call in self.state["calls"] if not asking.search(call + " ")]

    def forget(self) -> None:
        state = self.state
        state["calls"] = []
        self.write(state)


def report(state: dict[str, Any]) -> str:
    head, *gpus = re.split(r"(?=<gpu id=)", pathlib.Path(state["report"]).read_text(encoding="utf-8"))
    word = ("Disabled", "Enabled")
    for index, gpu in enumerate(state["gpus"]):
        text = gpus[index]

        def put(tag: str, value: str, text: str) -> str:
            return re.sub(rf"<{tag}>[^<]*</{tag}>", f"<{tag}>{value}</{tag}>", text, count=1)

        no_mig = state["faults"].get("no_mig")
        text = put("current_mig", "N/A" if no_mig else word[gpu["mig"]], text)
        text = put("pending_mig", "N/A" if no_mig else word[gpu["mig_pending"]], text)
        text = put("current_ecc", "N/A" if state["faults"].get("no_ecc") else word[gpu["ecc"]], text)
        text = put("pending_ecc", "N/A" if state["faults"].get("no_ecc") else word[gpu["ecc_pending"]], text)
        text = put("current_power_limit", f"{gpu['limit']:.2f} W", text)
        text = put("persistence_mode", word[not state["faults"].get("no_persistence")], text)
        if state["faults"].get("no_power"):
            text = re.sub(r"(<(?:current|min|max)_power_limit>)[^<]*", r"\1N/A", text)
        if not state["faults"].get("fabric"):
            text = re.sub(r"(<fabric>\s*<state>)[^<]*", r"\1N/A", text)
        devices = "".join(
            f"<mig_device><index>{at}</index><gpu_instance_id>{instance['id']}</gpu_instance_id>"
            "<compute_instance_id>0</compute_instance_id></mig_device>"
            for at, instance in enumerate(gpu["gis"])
        )
        text = re.sub(
            r"<mig_devices>[^<]*</mig_devices>", f"<mig_devices>{devices}</mig_devices>" if devices else "", text
        )
        processes = "".join(
            f"<process_info><gpu_instance_id>N/A</gpu_instance_id><compute_instance_id>N/A</compute_instance_id><pid>{pid}</pid>"
            f"<type>C</type><process_name>{name}</process_name><used_memory>1024 MiB</used_memory></process_info>"
            for pid, name in gpu["processes"]
        )
        gpus[index] = text.replace("<processes></processes>", f"<processes>{processes}</processes>")
    return head + "".join(gpus)


def mig(state: dict[str, Any], index: int, arguments: list[str]) -> tuple[int, str]:
    gpu = state["gpus"][index]
    option = arguments[0]
    if state["faults"].get(option):
        return 255, str(state["faults"][option])
    if option in ("-lgip", "-lgipp"):
        if state["faults"].get("profiles_need_mode") and not gpu["mig"]:
            return 6, "No MIG-enabled devices found."
        if option == "-lgipp":
            return 0, "\n".join(
                f"GPU {index:2} Profile ID {number:2} {'Placements:' if len(starts) > 1 else 'Placement :'} "
                f"{{{','.join(map(str, starts))}}}:{size}"
                for number, _total, starts, size in PROFILES.values()
            )
        rows = "".join(
            f"| {index:3}  MIG {name:<15} {number:2}     0/{total:<2}       9.75       No     16     1     0   |\n"
            f"|                                                               1     1     0   |\n{LINE}\n"
            for name, (number, total, _starts, _size) in PROFILES.items()
        )
        return (
            0,
            f"{LINE}\n| GPU instance profiles:                                                        |\n{LINE}\n{rows}",
        )
    if not gpu["mig"]:
        return 6, "No MIG-enabled devices found."
    if option == "-lgi":
        rows = "".join(
            f"| {index:3}  MIG {i['profile']:<15} {PROFILES[i['profile']][0]:2}       {i['id']:2}          {i['start']}:"
            f"{PROFILES[i['profile']][3]}     |\n+-------------------------------------------------------+\n"
            for i in gpu["gis"]
        )
        return (
            (0, f"| GPU instances:                                        |\n{rows}")
            if rows
            else (6, "No GPU instances found: Not Found")
        )
    if option == "-lci":
        rows = "".join(
            f"| {index:3}     {i['id']:2}       MIG {ci:<15}      2        {at:2}          0:4     |\n"
            for i in gpu["gis"]
            for at, ci in enumerate(i["cis"])
        )
        return (
            (0, f"| Compute instances:                                                 |\n{rows}")
            if rows
            else (6, "No compute instances found: Not Found")
        )
    if option == "-dci":
        for instance in gpu["gis"]:
            instance["cis"] = []
        return 0, "Successfully destroyed compute instance ID  0 from GPU  0 GPU instance ID  2"
    if option == "-dgi":
        if any(instance["cis"] for instance in gpu["gis"]):
            return (
                255,
                "Unable to destroy GPU instance ID  2 from GPU  0: In use by another client\nFailed to destroy GPU instances: In use by another client",
            )
        gpu["gis"] = []
        return 0, "Successfully destroyed GPU instance ID  2 from GPU  0"
    assert option == "-cgi", arguments
    assert arguments[2] == "-C", arguments
    said = []
    for name in arguments[1].split(","):
        number, _total, starts, size = PROFILES[name]
        taken = {s for i in gpu["gis"] for s in range(i["start"], i["start"] + PROFILES[i["profile"]][3])}
        free = [start for start in starts if not taken & set(range(start, start + size))]
        if not free or state["faults"].get("no_room") == name:
            said += [
                f"Unable to create a GPU instance on GPU {index:2} using profile {name}: Insufficient Resources",
                "Failed to create GPU instances: Insufficient Resources",
            ]
            return 255, "\n".join(said)
        gpu["gis"].append({"id": 2 + len(gpu["gis"]), "profile": name, "start": free[0], "cis": [name]})
        said.append(
            f"Successfully created GPU instance ID {1 + len(gpu['gis']):2} on GPU {index:2} using profile MIG {name} (ID {number:2})"
        )
    return 0, "\n".join(said)


def answer(state: dict[str, Any], argv: list[str]) -> tuple[int, str]:
    if argv == ["-q", "-x"]:
        return 0, report(state)
    arguments = list(argv)
    at = arguments.index("-i")
    uuid = arguments[at + 1]
    del arguments[at : at + 2]
    index = state["uuids"].index(uuid)
    gpu, bus, faults = state["gpus"][index], ("00000000:1B:00.0", "00000000:43:00.0")[index], state["faults"]
    if arguments[0] == "mig":
        return mig(state, index, arguments[1:])
    if arguments[0] == "-mig":
        on = int(arguments[1])
        verb = "enable" if on else "disable"
        if faults.get("mig_refused"):
            return (
                0,
                f"Unable to {verb} MIG Mode for GPU {bus}: Not Supported\nTreating as warning and moving on.\nAll done.",
            )
        gpu["mig_pending"] = on
        if faults.get("ampere"):
            return 0, (
                f"Warning: MIG mode is in pending {verb} state for GPU {bus}:In use by another client\n"
                f"{bus} is currently being used by one or more other processes. Please first kill all processes using the device "
                "and retry the command or reboot the system to make MIG mode effective.\nAll done."
            )
        gpu["mig"] = on
        return 0, f"{verb.capitalize()}d MIG Mode for GPU {bus}\nAll done."
    if arguments[0] == "--gpu-reset":
        if faults.get("no_reset"):
            return 3, f"Resetting GPU {bus} is not supported."
        gpu.update(mig=gpu["mig_pending"], ecc=gpu["ecc_pending"], gis=[], limit=700.0)
        return 0, f"GPU {bus} was successfully reset.\nAll done."
    if arguments[0] == "-pl":
        if faults.get("power_refused"):
            return (
                4,
                f"Failed to set power management limit for GPU {bus}: Insufficient Permissions\nTerminating early due to previous errors.",
            )
        before, gpu["limit"] = gpu["limit"], max(float(arguments[1]), faults.get("floor", 0.0))
        return 0, f"Power limit for GPU {bus} was set to {gpu['limit']:.2f} W from {before:.2f} W.\nAll done."
    assert arguments[0] == "-e", argv
    if faults.get("ecc_refused"):
        return 255, f"Unable to set ECC config for GPU {bus}: Unknown Error\nTerminating early due to previous errors."
    gpu["ecc_pending"] = int(arguments[1])
    return 0, f"{('Disabled', 'Enabled')[gpu['ecc_pending']]} ECC support for GPU {bus}.\nAll done.\nReboot required."


def main() -> int:
    file = pathlib.Path(__file__).parent / "gpus.json"
    state = json.loads(file.read_text(encoding="utf-8"))
    state["calls"].append(" ".join(sys.argv[1:]))
    status, said = answer(state, sys.argv[1:])
    file.write_text(json.dumps(state), encoding="utf-8")
    print(said)
    return status


if __name__ == "__main__":
    sys.exit(main())
