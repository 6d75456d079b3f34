# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernels that a host has: what of each is installed, and which one starts next."""

from __future__ import annotations

import glob
import os
import re
import shlex

# Beside the kernels that are started: what package managers set aside (grub-mkconfig passes over it too), and RHEL's rescue image.
_SET_ASIDE = re.compile(r"(?:\.(?:dpkg-\w+|rpmsave|rpmnew|old|bak|tmp)|~)$|^0-rescue-")

# What grub-mkconfig writes (GRUB manual, "Simple configuration"; its 00_header): the entry of grub-reboot for once, else the default.
_DEFAULT = re.compile(r'^\s*set default="([^"]*)"', re.M)
_ONCE, _SAVED = "${next_entry}", "${saved_entry}"
_FIRST_ENTRY = re.compile(r"^\s*menuentry .*?^\s*linux(?:efi|16)?\s+\S*vmlinuz-(\S+)", re.M | re.S)


def has_headers(kernel: str, libraries: str = "/lib/modules") -> bool:
    """Whether modules can be built for a kernel; the link alone says nothing, it may lead nowhere."""
    return os.path.isfile(os.path.join(libraries, kernel, "build", "Makefile"))


def has_image(kernel: str, running: str, boot: str = "/boot", libraries: str = "/lib/modules") -> bool:
    """Whether a kernel can be started. Its folder in /lib/modules says nothing: packages of headers, and DKMS, make that too."""
    # The running one was; in a container its image is not to be seen.
    return kernel == running or any(
        os.path.exists(path)
        for path in (
            os.path.join(boot, f"vmlinuz-{kernel}"),
            os.path.join(libraries, kernel, "vmlinuz"),
            os.path.join(libraries, kernel, "kernel"),
        )
    )


def image_package(kernel: str) -> str:
    """The package that brings a kernel, by the way the distributions name their kernels."""
    return f"kernel-core-{kernel}" if re.search(r"\.el\d+", kernel) else f"linux-image-{kernel}"


def starts_next(boot: str = "/boot", settings: str = "/etc/default") -> str | None:
    """The kernel that GRUB starts when nobody is at the console; None where that cannot be told."""
    folders = [os.path.join(boot, name) for name in ("grub", "grub2")]
    menu = "".join(_text(os.path.join(folder, "grub.cfg")) for folder in folders)
    default = _default(menu, settings)
    images = installed_images(boot)
    if default is None or not images:
        return None
    first = _FIRST_ENTRY.search(menu)
    newest = first.group(1) if first else images[0]
    environment: dict[str, str] = {}
    for folder in folders:
        environment.update(_assignments(_text(os.path.join(folder, "grubenv"))))
    entry = environment.get("next_entry") or (environment.get("saved_entry", "") if default == "saved" else default)
    # GRUB takes the first entry where the environment names none.
    if entry in ("", "0") or entry.startswith("gnulinux-simple-"):
        return newest
    # Identifiers and titles carry the kernel's version, those of RHEL's boot loader entries as well.
    named = [image for image in images if re.search(rf"(?<![\w.]){re.escape(image)}(?![\w.+])", entry)]
    return max(named, key=len) if named else None


def installed_images(boot: str = "/boot") -> list[str]:
    """The kernels in /boot, the newest first, in the order of sort -V and of RPM as far as kernels are named."""
    start = os.path.join(boot, "vmlinuz-")
    found = [path[len(start) :] for path in glob.glob(glob.escape(start) + "*")]
    return sorted((name for name in found if not _SET_ASIDE.search(name)), key=_age, reverse=True)


def _age(version: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|[a-zA-Z]+", version)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def _default(menu: str, settings: str) -> str | None:
    """The default entry, from the menu that was made, else from what it is made of."""
    written = {value for value in _DEFAULT.findall(menu) if value != _ONCE}
    if written:
        value = written.pop()
        return None if written else "saved" if value == _SAVED else value if "$" not in value else None
    files = [os.path.join(settings, "grub"), *sorted(glob.glob(os.path.join(settings, "grub.d", "*.cfg")))]
    if not os.path.isfile(files[0]):
        return None
    stated: dict[str, str] = {}
    for file in files:
        stated.update(_assignments(_text(file)))
    # The first entry is not the newest kernel's where somebody gave another order.
    if stated.get("GRUB_TOP_LEVEL") or stated.get("GRUB_FLAVOUR_ORDER"):
        return None
    value = stated.get("GRUB_DEFAULT") or "0"
    return None if "$" in value or "`" in value else value


def _assignments(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        name, sign, value = line.strip().partition("=")
        if sign and name.isidentifier():
            try:
                words = shlex.split(value, comments=True)
            except ValueError:
                words = [value]
            # grubenv quotes nothing, and titles have blanks.
            found[name] = words[0] if len(words) == 1 else value.strip()
    return found


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
