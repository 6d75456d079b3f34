# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for a NIM image, which is closed and cannot be had here.

It has the three commands that NVIDIA documents for the connected phase, with their options, the cache at /opt/nim/.cache
and the key in the environment. What it fetches it makes itself. It shows that the product runs these commands, keeps the
key to itself and carries what they leave; it cannot show that NVIDIA's own image does as its documentation says.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile

IMAGE = "localhost/airgap-test/nim-stand-in:1"
PROFILE = "1cafe40d906fd2c1f82cdcb56d141212826ad4521124276ee77611e776f1f04a"
SLOW = "a" * 64
LINKED = "b" * 64

_COMMON = (
    """#!/bin/sh
set -eu
fetch() {
  case "${NGC_API_KEY:-}" in
    good-*) ;;
    *) echo "Authentication failed for the key ${NGC_API_KEY:-}: 401 Unauthorized" >&2; exit 4 ;;
  esac
  if [ -n "${SSL_CERT_FILE:-}" ]; then grep -q . "$SSL_CERT_FILE"; fi
  hub=/opt/nim/.cache/ngc/hub/models--nim--meta--tiny
  if [ -e "$hub/begun" ]; then echo resumed > "$hub/resumed"; fi
  mkdir -p "$hub/blobs" "$hub/snapshots/$1"
  echo begun > "$hub/begun"
  if [ "$1" = """
    + SLOW
    + """ ] && [ ! -e "$hub/resumed" ]; then sleep 60; fi
  printf '{"model_type": "llama"}' > "$hub/blobs/c0"
  printf weights > "$hub/blobs/w0"
  ln -sf ../../blobs/c0 "$hub/snapshots/$1/config.json"
  ln -sf ../../blobs/w0 "$hub/snapshots/$1/model.safetensors"
  printf '%s %s' "$(id -u)" "${HTTPS_PROXY:-no proxy}" > "$hub/snapshots/$1/how.txt"
}
"""
)

_COMMANDS = {
    "list-model-profiles": """#!/bin/sh
echo "MODEL PROFILES"
echo "- Compatible with system and runnable: <None>"
echo "- Incompatible with system:"
echo "  - """
    + PROFILE
    + """ (vllm-bf16-tp1)"
""",
    "download-to-cache": _COMMON
    + """
[ "$1" = --profile ] || { echo "usage: download-to-cache --profile PROFILE" >&2; exit 2; }
fetch "$2"
""",
    "create-model-store": _COMMON
    + """
[ "$1" = --profile ] && [ "$3" = --model-store ] || { echo "usage: create-model-store --profile P --model-store D" >&2; exit 2; }
if [ "$2" = none ]; then exit 0; fi
fetch "$2"
if [ "$2" = """
    + LINKED
    + """ ]; then
  for name in config.json model.safetensors; do ln -sf "$hub/snapshots/$2/$name" "$4/$name"; done
else
  cp -L "$hub/snapshots/$2/"* "$4/"
fi
""",
}


def build(image: str = IMAGE, weights: str = "weights") -> None:
    """Make the image out of nothing but BusyBox."""
    busybox = shutil.which("busybox")
    if not busybox:
        raise RuntimeError("busybox is not installed; apt-get install busybox-static")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for directory in ("bin", "tmp", "opt", "opt/nim", "opt/nim/.cache"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(entry)
        tar.add(busybox, "bin/busybox")
        for applet in ("sh", "mkdir", "ln", "cp", "id", "sleep", "grep", "cat"):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        for name, written in _COMMANDS.items():
            text = written.replace("printf weights", f"printf {weights}")
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.mode, entry.size = 0o755, len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    subprocess.run(
        ["docker", "import", "--change", "ENV PATH=/bin", "--change", "USER 1000", "-", image],
        input=archive.getvalue(),
        check=True,
        capture_output=True,
    )


def remove(image: str = IMAGE) -> None:
    """Leave nothing behind."""
    subprocess.run(["docker", "rmi", "--force", image], check=False, capture_output=True)
