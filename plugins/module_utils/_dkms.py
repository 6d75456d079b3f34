# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What DKMS says: the modules that it built, the kernel for which it could not, and the compiler's own reason."""

from __future__ import annotations

import re
from typing import NamedTuple

# "nvidia-current/535.309.01, 6.1.0-56-amd64, x86_64: installed", and with a comma in DKMS 2; without a kernel when only added.
_STATUS = re.compile(
    r"^(?P<module>[^\s,/:]+)(?:/|, )(?P<version>[^\s,:]+)(?:, (?P<kernel>[^\s,]+), [^\s,:]+)?: (?P<state>[a-z]+)"
)
_LOG = re.compile(r"(/var/lib/dkms/(?P<module>[^/\s]+)/(?P<version>[^/\s]+)/\S*make\.log)")
_KERNEL = re.compile(r"\b(?:for|on)(?: the)? kernel:? (\S+)")
_ERROR = re.compile(r"^\S[^\n]*?(?::\d+)+: (?:fatal )?error: .*$", re.M)
_OTHER = re.compile(
    r"^(?:ERROR: |FATAL: |[^\s:]*(?:ld|gcc|cc)[^\s:]*: (?:error: )?|make(?:\[\d+\])?: \*\*\* ).*$", re.M
)


class Module(NamedTuple):
    """One line of dkms status."""

    name: str
    version: str
    kernel: str
    state: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Failure(NamedTuple):
    """A build that DKMS gave up; the log is a path in the root, and empty fields are not known."""

    module: str
    version: str
    kernel: str
    log: str


def status(text: str) -> list[Module]:
    """The modules that dkms status lists."""
    found = (_STATUS.match(line.strip()) for line in text.splitlines())
    return [
        Module(line["module"], line["version"], line["kernel"] or "", line["state"])
        for line in found
        if line is not None
    ]


def failure(text: str) -> Failure | None:
    """The build that failed, in what dkms or an installation that ran it said; None where none did."""
    log = _LOG.search(text)
    if log is None:
        return None
    # The kernel stands in the last line before that one which names one.
    kernels = _KERNEL.findall(text[: log.end()])
    return Failure(
        log["module"], log["version"], kernels[-1].strip("():,.") if kernels else "", log.group(1).rstrip(".")
    )


def reasons(log: str, limit: int = 3) -> list[str]:
    """The first errors in a make.log, the compiler's before those of other tools; else its last lines."""
    for pattern in (_ERROR, _OTHER):
        found = [" ".join(line.split()) for line in pattern.findall(log)]
        if found:
            return list(dict.fromkeys(map(_short, found)))[:limit]
    return [line.strip() for line in log.splitlines() if line.strip()][-limit:] or ["make.log is empty"]


def _short(line: str) -> str:
    """A path of the build's own directory says nothing."""
    return re.sub(r"^(?:\./)?/?\S*/dkms/[^/\s]+/[^/\s]+/build/", "", line)
