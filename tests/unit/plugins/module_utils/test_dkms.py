# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What DKMS and the compiler said on Debian 12 and 13, recorded."""

from __future__ import annotations

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _dkms
from ansible_collections.airgap.inference.plugins.module_utils._dkms import Failure, Module

# apt-get install nvidia-open-kernel-dkms on Debian 13 (dkms 3.2.2)
POSTINST = """\
Setting up nvidia-open-kernel-dkms (550.163.01-2) ...
Loading new nvidia-current-open/550.163.01 DKMS files...
Building for 6.12.107+deb13-amd64

Building initial module nvidia-current-open/550.163.01 for 6.12.107+deb13-amd64
Building module(s).................................................................(bad exit status: 2)
Failed command:
env NV_VERBOSE=1 make -j2 modules KERNEL_UNAME=6.12.107+deb13-amd64

Error! Bad return status for module build on kernel: 6.12.107+deb13-amd64 (x86_64)
Consult /var/lib/dkms/nvidia-current-open/550.163.01/build/make.log for more information.
dpkg: error processing package nvidia-open-kernel-dkms (--configure):
 installed nvidia-open-kernel-dkms package post-installation script subprocess returned error exit status 10
"""
LOG = """\
DKMS (dkms-3.2.2) make.log for nvidia-current-open/550.163.01 for kernel 6.12.107+deb13-amd64 (x86_64)
make[1]: Entering directory '/usr/src/linux-headers-6.12.107+deb13-common'
  x86_64-linux-gnu-gcc-14 -Werror=implicit-function-declaration -Wno-error -c -o nv-pci.o nv-pci.c
/var/lib/dkms/nvidia-current-open/550.163.01/build/nvidia/nv-pci.c: In function 'nv_resize_pcie_bars':
/var/lib/dkms/nvidia-current-open/550.163.01/build/nvidia/nv-pci.c:237:9: error: too few arguments to function 'pci_resize_resource'
  237 |     r = pci_resize_resource(pci_dev, NV_GPU_BAR1, requested_size);
In file included from /var/lib/dkms/nvidia-current-open/550.163.01/build/nvidia/nv-pci.c:23:
./include/linux/pci.h:1489:5: note: declared here
make[4]: *** [/usr/src/linux-headers-6.12.107+deb13-common/scripts/Makefile.build:234: nvidia/nv-pci.o] Error 1
make[4]: *** Waiting for unfinished jobs....
make: *** [Makefile:140: modules] Error 2

# exit code: 2
"""


def test_the_failed_build_is_named_with_its_kernel_and_log() -> None:
    assert _dkms.failure(POSTINST) == Failure(
        "nvidia-current-open",
        "550.163.01",
        "6.12.107+deb13-amd64",
        "/var/lib/dkms/nvidia-current-open/550.163.01/build/make.log",
    )
    assert _dkms.failure("E: Unable to locate package nvidia-open-kernel-dkms") is None


def test_the_compilers_first_error_is_the_reason() -> None:
    assert _dkms.reasons(LOG) == ["nvidia/nv-pci.c:237:9: error: too few arguments to function 'pci_resize_resource'"]


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            "ERROR: modpost: GPL-incompatible module nvidia.ko uses GPL-only symbol 'rcu_read_unlock_strict'\nmake: *** [x] Error 1",
            "ERROR: modpost: GPL-incompatible module nvidia.ko uses GPL-only symbol 'rcu_read_unlock_strict'",
        ),
        ("a\nb\n\nc\nd\n", "b"),
        ("", "make.log is empty"),
        ("x.c:1:10: fatal error: drm/drmP.h: No such file", "x.c:1:10: fatal error: drm/drmP.h: No such file"),
    ],
)
def test_other_reasons(log: str, reason: str) -> None:
    assert _dkms.reasons(log)[0] == reason


def test_only_the_first_errors_and_each_once() -> None:
    log = "".join(f"a.c:{number // 2}:1: error: no\n" for number in range(20))
    assert _dkms.reasons(log) == ["a.c:0:1: error: no", "a.c:1:1: error: no", "a.c:2:1: error: no"]


def test_status_of_either_generation() -> None:
    text = """\
nvidia-current/535.309.01, 6.1.0-53-amd64, x86_64: installed (WARNING! Diff between built and installed module!)
nvidia, 580.105.08, 5.15.0-160-generic, x86_64: installed
nvidia-current-open/550.163.01: added
"""
    assert _dkms.status(text) == [
        Module("nvidia-current", "535.309.01", "6.1.0-53-amd64", "installed"),
        Module("nvidia", "580.105.08", "5.15.0-160-generic", "installed"),
        Module("nvidia-current-open", "550.163.01", "", "added"),
    ]
    assert _dkms.status("chroot: failed to run command 'dkms': No such file or directory") == []
