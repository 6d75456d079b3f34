# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was set on the GPUs: some of it stays in the GPU (its InfoROM), the rest is the driver's and goes with it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LASTING = Path("/var/lib/airgap-lab/gpu-state.json")
# The simulated kernel removes it with the driver; a restart of the host does too.
VOLATILE = Path("/run/airgap-lab/gpu-state.json")


@dataclass
class State:
    """By the GPU's UUID."""

    #: ECC and, on Ampere, MIG mode as they will be after the next reset.
    ecc: dict[str, bool] = field(default_factory=dict)
    mig: dict[str, bool] = field(default_factory=dict)
    #: As they are now; what is missing is as above.
    ecc_now: dict[str, bool] = field(default_factory=dict)
    mig_now: dict[str, bool] = field(default_factory=dict)
    instances: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    power: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls) -> State:
        lasting, volatile = (
            json.loads(path.read_text(encoding="utf-8")) if path.exists() else {} for path in (LASTING, VOLATILE)
        )
        mig = {**lasting.get("mig", {}), **volatile.pop("mig", {})}
        return cls(ecc=lasting.get("ecc", {}), mig=mig, **volatile)

    def write(self, lasting_mig: set[str]) -> None:
        """From Hopper on, MIG mode is the driver's as well: only these GPUs keep theirs."""
        everything = asdict(self)
        lasting = {
            "ecc": everything.pop("ecc"),
            "mig": {uuid: on for uuid, on in self.mig.items() if uuid in lasting_mig},
        }
        for path, content in ((LASTING, lasting), (VOLATILE, everything)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content), encoding="utf-8")

    def ecc_mode(self, uuid: str) -> tuple[bool, bool]:
        """Current and pending."""
        pending = self.ecc.get(uuid, True)
        return self.ecc_now.get(uuid, pending), pending

    def mig_mode(self, uuid: str) -> tuple[bool, bool]:
        """Current and pending."""
        pending = self.mig.get(uuid, False)
        return self.mig_now.get(uuid, pending), pending

    def reset(self, uuid: str) -> None:
        """What waited takes effect; what was the driver's is lost."""
        for now in (self.ecc_now, self.mig_now):
            now.pop(uuid, None)
        self.instances.pop(uuid, None)
        self.power.pop(uuid, None)


def let_go(uuids: set[str]) -> None:
    """The driver forgets what it was told about GPUs that nobody has open any more; what the InfoROM keeps stays."""
    if not VOLATILE.exists():
        return
    volatile = json.loads(VOLATILE.read_text(encoding="utf-8"))
    kept = {uuid: limit for uuid, limit in volatile.get("power", {}).items() if uuid not in uuids}
    if kept != volatile.get("power", {}):
        VOLATILE.write_text(json.dumps({**volatile, "power": kept}), encoding="utf-8")
