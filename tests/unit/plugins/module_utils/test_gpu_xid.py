# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines have the shape of those in NVIDIA's documents "XID Errors" and "GPU Memory Error Management"; hosts and times are made up."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gpu_xid

JOURNAL = "2026-11-21T08:05:19+0000 gpu1 kernel: "
DMESG = "2026-11-21T08:05:19,810979+00:00 "
LOST = "NVRM: Xid (PCI:0000:1b:00): 79, pid=1234, name=python3, GPU has fallen off the bus."


@pytest.mark.parametrize("before", [JOURNAL, DMESG, "2026-11-21T08:05:19+00:00 gpu1 kernel: "])
def test_one_line(before: str) -> None:
    assert _gpu_xid.find([before + LOST + "\n"]) == [
        {
            "time": "2026-11-21T08:05:19+00:00",
            "first_time": "2026-11-21T08:05:19+00:00",
            "count": 1,
            "pci_address": "0000:1b:00.0",
            "xid": 79,
            "text": "pid=1234, name=python3, GPU has fallen off the bus.",
            "fatal": True,
            "gpu": None,
        }
    ]


@pytest.mark.parametrize(
    ("line", "address", "xid", "fatal"),
    [
        ("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.", "0000:01:00.0", 79, True),
        ("NVRM: Xid (0000:03:00): 14, Channel 00000001", "0000:03:00.0", 14, False),
        ("NVRM: Xid (PCI:0000:01:00 GPU-I:05): 94, pid=7194, Contained: CE User Channel", "0000:01:00.0", 94, False),
        ("NVRM: Xid (PCI:0000:01:00 GPU-I:05 GPU-CI:00): 13, pid=9, name=a, Graphics", "0000:01:00.0", 13, False),
        ("NVRM: Xid (PCI:0000:01:00): 95, pid=7062, Uncontained: LTC TAG", "0000:01:00.0", 95, True),
        ("NVRM: Xid (PCI:0000:01:00): 63, pid=1896, Row Remapper: New row marked", "0000:01:00.0", 63, False),
        ("NVRM: Xid (PCI:0000:01:00): 64, pid=1896, Row Remapper: Failed", "0000:01:00.0", 64, True),
        ("NVRM: Xid (PCI:0000:9b:00): 119, pid=1, name=nvidia-smi, Timeout after 6s", "0000:9b:00.0", 119, True),
        ("NVRM: Xid (PCI:0009:01:00): 149, NETIR_LINK_EVT  Fatal   XC0 i0 Link 01", "0009:01:00.0", 149, True),
        ("NVRM: Xid (PCI:0009:01:00): 149, NETIR_LINK_EVT  Nonfatal XC0 i0 Link 01", "0009:01:00.0", 149, False),
        (
            "NVRM: Xid (PCI:0009:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)",
            "0009:01:00.0",
            154,
            False,
        ),
        ("NVRM: Xid (PCI:0000:01:00): 79, ", "0000:01:00.0", 79, True),
    ],
)
def test_every_shape(line: str, address: str, xid: int, fatal: bool) -> None:
    found = _gpu_xid.find([JOURNAL + line])
    assert [(each["pci_address"], each["xid"], each["fatal"]) for each in found] == [(address, xid, fatal)]


@pytest.mark.parametrize("xid", [13, 31, 43, 45, 69])
def test_the_application_is_to_blame(xid: int) -> None:
    assert _gpu_xid.find([f"{JOURNAL}NVRM: Xid (PCI:0000:01:00): {xid}, pid=9, name=python3"])[0]["fatal"] is False


@pytest.mark.parametrize(
    "line",
    [
        "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.105.08",
        "NVRM: Xid error: xyz, invalid data",
        "NVRM: Xid (invalid): some error",
        f"audit: type=1300 comm='{LOST}'",
        "nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 12028, Non-fatal, Link 40 egress non-posted PRIV error",
    ],
)
def test_other_lines(line: str) -> None:
    assert _gpu_xid.find([JOURNAL + line]) == []


def test_many_lines_are_one_entry() -> None:
    first = LOST.join(["2026-11-21T08:00:00+0000 gpu1 kernel: ", ""])
    other = first.replace("0000:1b:00", "0000:43:00")
    found = _gpu_xid.find([first, *[JOURNAL + LOST.replace("1234", "99")] * 5000, other])
    assert [(each["pci_address"], each["count"]) for each in found] == [("0000:1b:00.0", 5001), ("0000:43:00.0", 1)]
    assert (found[0]["first_time"], found[0]["time"]) == ("2026-11-21T08:00:00+00:00", "2026-11-21T08:05:19+00:00")
    assert found[0]["text"].startswith("pid=99,")
    assert "5001 times since 2026-11-21T08:00:00+00:00" in _gpu_xid.problem(found[0])


def test_a_fatal_link_error_is_not_covered_by_a_harmless_one() -> None:
    lines = [
        f"{JOURNAL}NVRM: Xid (PCI:0009:01:00): 149, NETIR_LINK_EVT {severity} XC0" for severity in ("Fatal", "Nonfatal")
    ]
    found = _gpu_xid.find(lines)
    assert [each["fatal"] for each in found] == [True, False]
    assert "an NVLink error: Xid 149" in _gpu_xid.problem(found[0])


def programs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    for name, script in scripts.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_the_journal_is_asked(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    programs(
        tmp_path, monkeypatch, journalctl=f'echo "$@" >{asked}; echo "{JOURNAL}{LOST}"', dmesg="echo unexpected; exit 1"
    )
    log = _gpu_xid.read()
    assert ([xid["xid"] for xid in log.xids], log.warning) == ([79], "")
    assert asked.read_text(encoding="utf-8") == "-k -b --output=short-iso --no-pager --quiet\n"


def test_a_journal_without_xids(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path, monkeypatch, journalctl=f'echo "{JOURNAL}Linux version 6.12"', dmesg=f'echo "{DMESG}{LOST}"')
    assert _gpu_xid.read() == ([], "")


@pytest.mark.parametrize("journalctl", ["exit 0", "echo no; exit 1"])
def test_dmesg_where_the_journal_has_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, journalctl: str
) -> None:
    programs(tmp_path, monkeypatch, journalctl=journalctl, dmesg=f'echo "$@" | grep -q iso && echo "{DMESG}{LOST}"')
    assert [xid["xid"] for xid in _gpu_xid.read().xids] == [79]


def test_a_log_that_cannot_be_read_is_a_warning(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = "echo 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1"
    programs(tmp_path, monkeypatch, journalctl="exit 1", dmesg=denied)
    log = _gpu_xid.read()
    assert log.xids == []
    assert "dmesg says 'dmesg: read kernel buffer failed: Operation not permitted'" in log.warning
    assert "become" in log.warning


def test_a_host_with_neither(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "The program dmesg is not on this machine" in _gpu_xid.read().warning
