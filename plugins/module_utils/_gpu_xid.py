# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The XIDs of this boot: what the driver wrote into the kernel log when a GPU had an error."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._command import last_words, run
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._gpu_bus import address

# The whole journal of a boot is read, and sifted here: not every journalctl is built with --grep.
JOURNAL = ["journalctl", "-k", "-b", "--output=short-iso", "--no-pager", "--quiet"]
DMESG = ["dmesg", "--time-format=iso"]

# "2026-11-21T08:05:19+0000 gpu1 kernel: NVRM: Xid (PCI:0000:1b:00): 79, pid=1234, name=python3, GPU has fallen off the bus.";
# dmesg writes neither host nor "kernel:", and with MIG the GPU instance stands after the address: (PCI:0000:1b:00 GPU-I:05).
_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,]\d+)?(?P<hours>[+-]\d\d):?(?P<minutes>\d\d) "
    r"(?:\S+ kernel: )?NVRM: Xid "
    r"\((?:PCI:)?(?P<address>[0-9a-fA-F]+:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})(?: [^)]*)?\): (?P<xid>\d{1,4}), ?(?P<text>.*)"
)

_REBOOT = "stop what uses the GPU and reboot the host: this resets the GPU and begins a new log. If it comes back, have the card checked"
_REPLACE = "have the card replaced"
_POWER = "power the host off and on, and have the card, its slot and its power checked if it comes back"
_LINK = (
    "check nvidia-fabricmanager (journalctl -u nvidia-fabricmanager) and 'nvidia-smi nvlink -s', and reboot the host. "
    "If it comes back, have the board checked"
)

# The XIDs after which a GPU must not be used before something is done: those whose immediate action is a reset, a restart of the
# machine or a look at the hardware in "Analyzing Xid Errors with the Xid Catalog"
# (https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html). The others are of the application (13, 31, 43, 45, 69,
# 94), or tell of what the report shows by itself: a row that was remapped (63), a recovery action that changed (154).
_FATAL = {
    46: ("the GPU stopped processing", _REBOOT),
    48: ("an uncorrectable memory error", _REBOOT),
    54: ("the GPU's auxiliary power is not connected", _POWER),
    62: ("a micro-controller of the GPU halted", _REBOOT),
    64: ("faulty memory could not be taken out of use", _REPLACE),
    74: ("an NVLink error", _LINK),
    79: ("the GPU has fallen off the bus", _POWER),
    95: ("a memory error that could not be contained", _REBOOT),
    109: ("a context switch timed out", _REBOOT),
    110: ("a security fault", _REBOOT),
    119: ("the GPU's system processor (GSP) does not answer", _REBOOT),
    120: ("an error of the GPU's system processor (GSP)", _REBOOT),
    136: ("an NVLink could not be trained", _LINK),
    140: ("an ECC error that was not recovered", _REBOOT),
    143: ("the GPU could not be initialised", _REBOOT),
    151: ("a key of the GPU's confidential computing could not be changed", _REBOOT),
    155: ("an NVLink error found by the software", _LINK),
    156: ("a faulty part of the GPU is to be taken out of use", _REBOOT),
    158: ("the GPU did not answer in time", _REBOOT),
}

# NVLink 5 writes the severity into the text: "144, SAW_MVB Fatal ...", or Nonfatal.
_NVLINK5 = range(144, 151)


class Log(NamedTuple):
    """The XIDs that were found; the warning says why they could not be looked for."""

    xids: list[dict[str, Any]]
    warning: str


def read() -> Log:
    """From the journal; where it has nothing of the kernel (none kept, or a container), from the kernel itself."""
    journal = _journal()
    if journal is not None:
        return Log(journal, "")
    try:
        said = run(DMESG)
    except AirgapError as error:
        return Log([], _unknown(str(error)))
    if said.rc != 0:
        return Log([], _unknown(f"{DMESG[0]} says '{last_words(said, 1)}'"))
    return Log(find(said.stdout.decode("utf-8", "replace").splitlines()), "")


def find(lines: Iterable[str]) -> list[dict[str, Any]]:
    """One entry for each GPU and XID, with its last line and how many there were: a broken GPU writes thousands."""
    found: dict[tuple[str, int, bool], dict[str, Any]] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        xid, text = int(match["xid"]), match["text"].strip()
        where = address(match["address"])
        fatal = xid in _FATAL or (xid in _NVLINK5 and re.search(r"\bFatal\b", text) is not None)
        time = f"{match['time']}{match['hours']}:{match['minutes']}"
        entry = found.setdefault((where, xid, fatal), {"first_time": time, "count": 0, "gpu": None})
        entry.update(time=time, count=entry["count"] + 1, pci_address=where, xid=xid, text=text[:400], fatal=fatal)
    return list(found.values())


def problem(xid: dict[str, Any]) -> str:
    """What a fatal XID means, with the driver's own words and the remedy."""
    meaning, remedy = _FATAL.get(xid["xid"], ("an NVLink error", _LINK))
    times = "" if xid["count"] == 1 else f", {xid['count']} times since {xid['first_time']}"
    return f"{meaning}: Xid {xid['xid']} in the kernel log at {xid['time']}{times} ('{xid['text']}'). Remedy: {remedy}"


def _journal() -> list[dict[str, Any]] | None:
    """None when it cannot be read, and when it has no line at all."""
    try:
        process = subprocess.Popen(
            JOURNAL,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
        )
    except OSError:
        return None
    seen = 0

    def counted(lines: Iterable[str]) -> Iterator[str]:
        nonlocal seen
        for line in lines:
            seen += 1
            yield line

    with process:
        # Line by line: the kernel log of a host that runs for a year does not fit in memory everywhere.
        found = find(counted(process.stdout or ()))
    return found if seen and process.returncode == 0 else None


def _unknown(reason: str) -> str:
    return (
        f"The kernel log cannot be read ({reason}), so the XIDs of the GPUs are not known. Run the task with become; where the "
        "system keeps neither a journal nor lets dmesg read the log, look for 'Xid' in the system's own log"
    )
