# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nginx image: Debian's nginx with njs, laid out for its users as the public image is."""

from __future__ import annotations

from airgap_lab.debian import Recipe
from airgap_lab.public_images import PublicImage

RELEASE = "trixie"
# The tag says what is really inside: Debian 13's nginx.
IMAGE = "docker.io/library/nginx:1.26"
# The public image has `stream` in the program itself; Debian's loads it by the snippets in /etc/nginx/modules-enabled.
INCLUDE = ("passwd", "nginx", "libnginx-mod-http-js", "libnginx-mod-stream")
HOOKS = (
    'chroot "$1" groupadd --gid 101 nginx',
    'chroot "$1" useradd --uid 101 --gid 101 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nginx',
    'ln -sf /dev/stdout "$1/var/log/nginx/access.log" && ln -sf /dev/stderr "$1/var/log/nginx/error.log"',
    'sed -i "s/^user .*/user nginx;/" "$1/etc/nginx/nginx.conf"',
    'test -f "$1/usr/lib/nginx/modules/ngx_http_js_module.so"',
    'ls "$1"/etc/nginx/modules-enabled/*-mod-stream.conf',
    'chroot "$1" nginx -v 2>&1 | grep -q "nginx/1\\.26\\."',
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin',
)
SETTINGS = {
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    "Cmd": ["nginx", "-g", "daemon off;"],
    "ExposedPorts": {"80/tcp": {}},
    "StopSignal": "SIGQUIT",
}


PUBLIC = PublicImage("gateway", IMAGE, Recipe(RELEASE, INCLUDE, HOOKS), SETTINGS)


def build() -> None:
    PUBLIC.build({})
