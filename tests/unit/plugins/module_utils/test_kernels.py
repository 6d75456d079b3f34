# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The menus have the shape of those that grub-mkconfig writes on Debian 12 and on RHEL 9."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _kernels

OLD, NEW = "6.1.0-9-amd64", "6.1.0-56-amd64"
HEAD = """\
if [ "${{next_entry}}" ] ; then
   set default="${{next_entry}}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="{}"
fi
"""
ENTRIES = """\
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-0a1b' {
@echo@'Loading Linux 6.1.0-9-amd64 ...'
@linux@/boot/vmlinuz-6.1.0-9-amd64 root=UUID=0a1b ro quiet
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-0a1b' {
@menuentry 'Debian GNU/Linux, with Linux 6.1.0-56-amd64' $menuentry_id_option 'gnulinux-6.1.0-56-amd64-advanced-0a1b' {
@@linux@/boot/vmlinuz-6.1.0-56-amd64 root=UUID=0a1b ro quiet
@}
}
""".replace("@", "\t")


class Boot:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "boot").mkdir()

    def write(self, path: str, text: str = "") -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def images(self, *versions: str) -> None:
        for version in versions:
            self.write(f"boot/vmlinuz-{version}")

    def next(self) -> str | None:
        return _kernels.starts_next(str(self.root / "boot"), str(self.root / "default"))


@pytest.fixture(name="boot")
def fixture_boot(tmp_path: Path) -> Boot:
    return Boot(tmp_path)


@pytest.mark.parametrize(
    "versions",
    [
        ("6.1.0-9-amd64", "6.1.0-56-amd64"),
        ("6.8.0-50-generic", "6.8.0-101-generic"),
        ("6.1.0-56-amd64", "6.1.0-56-cloud-amd64"),
        ("5.14.0-503.el9.x86_64", "5.14.0-503.11.1.el9.x86_64"),
        ("5.14.0-503.11.1.el9_5.x86_64", "5.14.0-570.el9.x86_64"),
        ("6.1.0-56-amd64", "6.12.48+deb13-amd64"),
    ],
    ids=["debian", "ubuntu", "flavour", "rhel", "rhel minor", "release"],
)
def test_the_newest_by_its_version(boot: Boot, versions: tuple[str, str]) -> None:
    older, newer = versions
    boot.images(older, newer, "0-rescue-0a1b2c", f"{newer}.dpkg-new", f"{newer}.old")
    assert _kernels.installed_images(str(boot.root / "boot")) == [newer, older]


def test_without_grub_nothing_is_known(boot: Boot) -> None:
    boot.images(OLD, NEW)
    assert boot.next() is None


def test_without_kernels_nothing_is_known(boot: Boot) -> None:
    boot.write("default/grub", "GRUB_DEFAULT=0\n")
    assert boot.next() is None


@pytest.mark.parametrize(
    ("settings", "environment", "kernel"),
    [
        ("GRUB_DEFAULT=0", "", NEW),
        ("GRUB_TIMEOUT=5", "", NEW),
        ("GRUB_DEFAULT='0' # the newest", "saved_entry=gnulinux-6.1.0-9-amd64-advanced-0a1b", NEW),
        ("GRUB_DEFAULT=saved", "", NEW),
        ("GRUB_DEFAULT=saved", "saved_entry=gnulinux-advanced-0a1b>gnulinux-6.1.0-9-amd64-advanced-0a1b", OLD),
        ("GRUB_DEFAULT=saved", "saved_entry=Debian GNU/Linux, with Linux 6.1.0-9-amd64", OLD),
        ("GRUB_DEFAULT=saved", "saved_entry=gnulinux-simple-0a1b", NEW),
        ("GRUB_DEFAULT=saved", "saved_entry=Windows", None),
        ("GRUB_DEFAULT=0", "next_entry=gnulinux-6.1.0-9-amd64-advanced-0a1b", OLD),
        ('GRUB_DEFAULT="Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1.0-9-amd64"', "", OLD),
        ("GRUB_DEFAULT=1", "", None),
        ('GRUB_DEFAULT="1>2"', "", None),
        ('GRUB_DEFAULT="$(newest)"', "", None),
        ("GRUB_DEFAULT=0\nGRUB_FLAVOUR_ORDER=lowlatency", "", None),
        ("GRUB_DEFAULT=0\nGRUB_TOP_LEVEL=/boot/vmlinuz-6.1.0-9-amd64", "", None),
    ],
    ids=[
        "first",
        "unstated",
        "saved but not asked",
        "saved nothing",
        "saved id",
        "saved title",
        "saved simple",
        "saved stranger",
        "once",
        "title",
        "second",
        "path",
        "shell",
        "flavours",
        "top",
    ],
)
def test_what_grub_takes(boot: Boot, settings: str, environment: str, kernel: str | None) -> None:
    boot.images(OLD, NEW)
    boot.write("default/grub", settings + "\n")
    boot.write("boot/grub/grubenv", f"# GRUB Environment Block\n{environment}\n{'#' * 500}")
    assert boot.next() == kernel


def test_a_later_file_of_settings_wins(boot: Boot) -> None:
    boot.images(OLD, NEW)
    boot.write("default/grub", "GRUB_DEFAULT=0\n")
    boot.write("default/grub.d/60-site.cfg", f"GRUB_DEFAULT='Advanced>Linux {OLD}'\n")
    assert boot.next() == OLD


def test_the_menu_that_was_made_counts_more_than_what_it_is_made_of(boot: Boot) -> None:
    boot.images(OLD, NEW)
    boot.write("default/grub", "GRUB_DEFAULT=saved\n")
    boot.write("boot/grub/grubenv", f"saved_entry=gnulinux-{NEW}-advanced-0a1b\n")
    boot.write("boot/grub/grub.cfg", HEAD.format("0") + ENTRIES)
    assert boot.next() == OLD
    boot.write("boot/grub/grub.cfg", HEAD.format("${saved_entry}") + ENTRIES)
    assert boot.next() == NEW


def test_the_entries_of_rhel(boot: Boot) -> None:
    older, newer = "5.14.0-503.el9.x86_64", "5.14.0-503.11.1.el9.x86_64"
    boot.images(older, newer, "0-rescue-0a1b2c", f"{older}+debug")
    boot.write("boot/grub2/grub.cfg", HEAD.format("${saved_entry}") + "insmod blscfg\nblscfg\n")
    boot.write("boot/grub2/grubenv", f"saved_entry=0a1b2c3d-{older}\nboot_success=1\n")
    assert boot.next() == older
    boot.write("boot/grub2/grubenv", f"saved_entry=0a1b2c3d-{older}+debug\n")
    assert boot.next() == f"{older}+debug"
    boot.write("boot/grub2/grubenv", "boot_success=1\n")
    assert boot.next() == newer
