# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's own code, that of its simulated packages and that of its machines are scripts: put them on the path."""

from __future__ import annotations

import sys
from pathlib import Path

LAB = Path(__file__).resolve().parents[2] / "lab"
# Nothing may be left in what is packed.
sys.dont_write_bytecode = True
sys.path.insert(0, str(LAB))
for tools in sorted(LAB.glob("gpu_packages/*/root/usr/lib/airgap-lab")):
    sys.path.insert(0, str(tools))
sys.path.insert(0, str(LAB / "host_files/usr/local/lib/airgap-lab"))
