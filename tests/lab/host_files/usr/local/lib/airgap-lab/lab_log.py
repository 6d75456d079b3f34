# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's log: a FIFO at /dev/kmsg that journald reads as it reads the kernel's, so that `journalctl -k` is the real one.

systemd-nspawn gives its containers such a FIFO too. The format of a record is the kernel's (Documentation/ABI/testing/dev-kmsg).
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from lab_tree import STATE

KMSG = Path("/dev/kmsg")
ERROR, WARNING, INFO = 3, 4, 6


def make() -> None:
    """A process keeps it open from the start: systemd opens it for writing, and would wait for a reader for ever."""
    if KMSG.exists():
        return
    half = KMSG.with_name(".kmsg")
    os.mkfifo(half, 0o600)
    pipe = os.open(half, os.O_RDWR)
    subprocess.Popen(["sleep", "infinity"], stdin=pipe, start_new_session=True)
    half.rename(KMSG)


def say(text: str, level: int = INFO) -> None:
    """One record; lost, as on a machine without a journal, when nobody reads."""
    try:
        pipe = os.open(KMSG, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        STATE.mkdir(parents=True, exist_ok=True)
        with (STATE / "kmsg-sequence").open("a+", encoding="utf-8") as counter:
            fcntl.flock(counter, fcntl.LOCK_EX)
            counter.seek(0)
            number = int(counter.read() or 0)
            os.write(pipe, f"{level},{number},{time.monotonic_ns() // 1000},-;{text}\n".encode())
            _wait(pipe)
            counter.truncate(0)
            counter.write(str(number + 1))
    finally:
        os.close(pipe)


def _wait(pipe: int) -> None:
    """Until journald has taken it: it takes what one read gives for one record."""
    for _attempt in range(200):
        waiting = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]
        if waiting == 0:
            return
        time.sleep(0.01)
    print("airgap-lab: nobody reads /dev/kmsg", file=sys.stderr)
