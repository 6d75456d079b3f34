# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nvidia-persistenced: holds the driver open, so that nvidia-smi shows persistence mode while it runs."""

from __future__ import annotations

import os
import signal
import sys

from simulated_gpus import PERSISTENCED, be_called, read


def main() -> int:
    host = read()
    if not host.driver or not host.gpus:
        print("nvidia-persistenced failed to initialize. Check syslog for more details.", file=sys.stderr)
        return 1
    be_called("nvidia-persistenced")
    PERSISTENCED.parent.mkdir(exist_ok=True)
    PERSISTENCED.write_text(f"{os.getpid()}\n", encoding="utf-8")
    # Open for as long as it runs: this is what keeps the GPUs initialised, and in the way of a reset.
    devices = [os.open(f"/dev/nvidia{name}", os.O_RDONLY) for name in ("ctl", *range(len(host.gpus)))]
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    for device in devices:
        os.close(device)
    PERSISTENCED.unlink(missing_ok=True)
    # Idle GPUs forget their power limits now, and not only when the next tool looks.
    read()
    return 0


if __name__ == "__main__":
    # Blocked before the pid is known to others: a quick stop is not missed.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sys.exit(main())
