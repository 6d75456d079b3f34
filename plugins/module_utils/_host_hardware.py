# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is, as far as its GPU driver is concerned: GPUs, switches, kernel, Secure Boot, and who uses the GPUs."""

from __future__ import annotations

import glob
import os
from typing import Any, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import (
    _driver_services,
    _gpu_bus,
    _gpu_generation,
    _kernels,
    _pci,
)
from ansible_collections.airgap.inference.plugins.module_utils._driver_load import Host
from ansible_collections.airgap.inference.plugins.module_utils._driver_services import SERVICES, Said
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# UEFI specification, "Globally Defined Variables": SecureBoot of this vendor is 1 where firmware checks what it starts. The kernel
# shows each variable with four bytes of attributes before it (Documentation/filesystems/efivarfs.rst).
_SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_ATTRIBUTES = 4
# Where DKMS keeps the certificate of the key that it signs with: its own default, and Ubuntu's (dkms, "prepare_signing").
_CERTIFICATES = ("var/lib/dkms/mok.pub", "var/lib/shim-signed/mok/MOK.der")
# The certificates that the shim trusts, as it hands them to the kernel (shim, MokVars.txt): by the kernel's own copy, or by variables.
_ENROLLED = ("sys/firmware/efi/mok-variables/MokListRT*", "sys/firmware/efi/efivars/MokListRT*-*")
# NVIDIA's README names the module; Debian's archive gives its file another name.
_MODULE_NAMES = ("nvidia", "nvidia-current", "nvidia-current-open")


def run(argv: Sequence[str]) -> Said:
    """As elsewhere; but where there is no modinfo, there is no driver yet either."""
    try:
        return _driver_services.run(argv)
    except AirgapError as error:
        return Said(127, str(error))


def describe(host: Host, root: str = "/") -> dict[str, Any]:
    """All of it; what cannot be told is None."""
    bus = os.path.join(root, _pci.BUS.lstrip("/"))
    certificate = next((path for path in _CERTIFICATES if os.path.isfile(os.path.join(root, path))), None)
    state = host.state()
    return {
        "gpus": gpus(bus),
        "nvswitches": _pci.nvswitches(bus),
        "nvlink5": _pci.has_nvlink5(bus),
        "kernel": {
            "running": state.running,
            "wanted": state.wanted,
            "image": state.image,
            "headers": _kernels.has_headers(state.wanted, host.libraries),
            "module_version": state.installed.version if state.installed else None,
            "module_open": state.installed.open if state.installed else None,
            "signed": signed(host) if state.installed else None,
            "module_file": _of_module(host, "filename") if state.installed else None,
        },
        "loaded": {
            "nvidia": state.loaded.version if state.loaded else None,
            "open": state.loaded.open if state.loaded else None,
            "nouveau": "nouveau" in state.modules,
        },
        "secure_boot": secure_boot(root),
        "dkms_key": {
            "certificate": f"/{certificate}" if certificate else None,
            "enrolled": enrolled(os.path.join(root, certificate), root) if certificate else False,
        },
        "users": [{"pid": user.pid, "name": user.name} for user in state.users if user.unit not in SERVICES],
    }


def gpus(bus: str) -> list[dict[str, Any]]:
    """The GPUs on the bus, with what can be told of them before there is a driver."""
    boards = _pci.subsystems(bus)
    found = []
    for gpu in _gpu_bus.read(bus):
        generation = _gpu_generation.of(gpu["device_id"])
        found.append(
            {
                **gpu,
                "subsystem_id": boards.get(gpu["pci_address"], ""),
                "generation": generation.name,
                "open_modules": generation.open_modules,
                "proprietary_modules": generation.proprietary_modules,
            }
        )
    return found


def signed(host: Host) -> bool:
    """Whether the installed module carries a signature, whosever it is."""
    return bool(_of_module(host, "signer"))


def _of_module(host: Host, field: str) -> str | None:
    """What modinfo says of the installed module; None where it says nothing."""
    for name in _MODULE_NAMES:
        said = host.run(["modinfo", "-k", host.wanted, "-F", field, name])
        if said.rc == 0:
            return said.text.strip() or None
    return None


def secure_boot(root: str = "/") -> bool | None:
    """Whether the kernel was started with Secure Boot; None where the firmware's variables are not shown."""
    firmware = os.path.join(root, "sys/firmware/efi")
    if not os.path.isdir(firmware):
        return False
    try:
        with open(os.path.join(firmware, "efivars", _SECURE_BOOT), "rb") as file:
            value = file.read(_ATTRIBUTES + 1)
    except OSError:
        return None
    return value[_ATTRIBUTES:] == b"\x01" if len(value) > _ATTRIBUTES else None


def enrolled(certificate: str, root: str = "/") -> bool | None:
    """Whether the firmware knows the certificate that DKMS signs with; None where its list is not shown."""
    lists = [path for pattern in _ENROLLED for path in sorted(glob.glob(os.path.join(root, pattern)))]
    try:
        with open(certificate, "rb") as file:
            wanted = file.read()
        known = [_bytes(path) for path in lists]
    except OSError:
        return None
    # A list holds the certificates as they are (UEFI specification, EFI_SIGNATURE_LIST of EFI_CERT_X509_GUID).
    return any(wanted in data for data in known) if wanted and known else None


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
