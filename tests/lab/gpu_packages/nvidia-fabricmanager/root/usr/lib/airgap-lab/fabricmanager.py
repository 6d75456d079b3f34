# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nv-fabricmanager: refuses without NVSwitches and beside another driver, in the real one's words."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from simulated_gpus import FABRICMANAGER, Host, be_called, read

VERSION = Path("/usr/lib/airgap-lab/fabricmanager-version")
SUBNET_MANAGER = Path("/opt/nvidia/nvlsm/sbin/nvlsm")


def refusal(host: Host, version: str, subnet_manager: bool) -> str:
    """As in NVIDIA's Fabric Manager User Guide and in the logs of those who met them."""
    if not host.driver:
        return "failed to initialize NVIDIA driver interface: NVIDIA driver is not loaded"
    if host.driver != version:
        return (
            f"fabric manager NVIDIA GPU driver interface version {version} don't match with driver version {host.driver}. "
            "Please update with matching NVIDIA driver package."
        )
    if host.nvlink5:
        return "" if subnet_manager else f"{SUBNET_MANAGER}: No such file or directory"
    if not host.nvswitches:
        return (
            "request to query NVSwitch device information from NVSwitch driver failed with "
            "error:WARNING Nothing to do [NV_WARN_NOTHING_TO_DO]"
        )
    return ""


def main() -> int:
    reason = refusal(read(), VERSION.read_text(encoding="utf-8").strip(), SUBNET_MANAGER.exists())
    if reason:
        print(reason, file=sys.stderr)
        return 1
    be_called("nv-fabricmanager")
    FABRICMANAGER.parent.mkdir(exist_ok=True)
    FABRICMANAGER.write_text(f"{os.getpid()}\n", encoding="utf-8")
    # Open for as long as it runs, as the real one has it.
    control = os.open("/dev/nvidiactl", os.O_RDONLY)
    _tell_systemd()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os.close(control)
    FABRICMANAGER.unlink(missing_ok=True)
    return 0


def _tell_systemd() -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.send(b"READY=1")


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sys.exit(main())
