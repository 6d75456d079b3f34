# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel module that modinfo and depmod can read: an ELF file with nothing in it but its .modinfo."""

from __future__ import annotations

import struct

HEADER, SECTION = 64, 64
X86_64, RELOCATABLE = 62, 1
PROGBITS, STRTAB = 1, 3


def module(information: dict[str, str]) -> bytes:
    """The information as `modinfo` shows it; see the ELF-64 object file format for the rest."""
    modinfo = b"".join(f"{name}={value}".encode() + b"\0" for name, value in information.items())
    names = b"\0.modinfo\0.shstrtab\0"
    body = modinfo + names
    table = (HEADER + len(body) + 7) // 8 * 8
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", RELOCATABLE, X86_64, 1, 0, 0, table, 0, HEADER, 0, 0, SECTION, 3, 2)
    sections = (
        _section(0, 0, 0, 0),
        _section(names.index(b".modinfo"), PROGBITS, HEADER, len(modinfo)),
        _section(names.index(b".shstrtab"), STRTAB, HEADER + len(modinfo), len(names)),
    )
    return header + body + bytes(table - HEADER - len(body)) + b"".join(sections)


def _section(name: int, kind: int, offset: int, size: int) -> bytes:
    return struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, 0, 0, 1, 0)
