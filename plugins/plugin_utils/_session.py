# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shell commands that run a command in a session of its own on a host, and tell how it is.

Its output lies in files of a directory of its own until it is fetched, so a connection may be lost for a moment. The
command that starts the session waits some seconds for its end, so a short step costs no more round trips than without
it. (Ansible's own async costs about five more, uses no pipelining and has no check mode.)
"""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

# How long the host waits to be asked before it ends the step.
PATIENCE = 60
# How long one look waits for the end.
LOOK = 5

# $1: the directory; $2: the command; $3: the process to end with, when it is on this host.
#
# The watch: when the playbook is interrupted nothing else would end the step. All programs in the session's group get
# the signal; the module may put away what it must (mounts, containers) before it is killed. Time is counted and not
# read from the clock, which may be set meanwhile. A result that nobody fetches is removed, too.
_SESSION = f"""
directory=$1
echo "$$" >"$directory/pid"
(
  silent=0
  while sleep 2 && [ -d "$directory" ]; do
    if [ -n "$3" ]; then
      [ -d "/proc/$3" ] && continue
    elif [ -e "$directory/asked" ]; then
      rm -f "$directory/asked"
      silent=0
      continue
    else
      silent=$((silent + 2))
      [ "$silent" -lt {PATIENCE} ] && continue
    fi
    trap '' TERM
    [ -e "$directory/rc" ] || {{ kill -TERM 0; sleep 30; }}
    rm -rf "$directory"
    kill -KILL 0
  done
) &
# Arguments may be secrets: they do not lie there while the module runs.
if [ -e "$directory/in" ]; then exec <"$directory/in"; rm -f "$directory/in"; fi
AIRGAP_PROGRESS="$directory/progress" sh -c "$2" >"$directory/out" 2>"$directory/err"
echo "$?" >"$directory/rc.part" && mv "$directory/rc.part" "$directory/rc"
"""

# Where no directory can be made the command runs in the foreground, as it would without all this.
_START = """
directory=$(umask 077 && mktemp -d "${TMPDIR:-/tmp}/airgap-XXXXXXXX") || exec sh -c @COMMAND@
@INPUT@
: >"$directory/asked"
owner=@OWNER@
# Another user's processes may be hidden.
[ -d "/proc/$owner" ] || owner=
setsid --fork sh -c @SESSION@ airgap "$directory" @COMMAND@ "$owner" </dev/null >/dev/null 2>&1
looked=0
while [ ! -e "$directory/rc" ] && [ "$looked" -lt 20 ]; do
  looked=$((looked + 1))
  sleep 0.05
done
"""

_LOOK = """
looked=0
while [ ! -e "$directory/rc" ] && [ "$looked" -lt @LOOKS@ ]; do
  looked=$((looked + 1))
  sleep 0.25
done
if [ -e "$directory/rc" ]; then
  printf '\n%s ended %s\n' @TOKEN@ "$(cat "$directory/rc")"
  cat "$directory/out"
  printf '\n%s errors\n' @TOKEN@
  cat "$directory/err"
  @AFTER@
else
  # Its command line holds the directory's name: a number alone may be another process by now.
  alive=no
  grep -qsF "$directory" "/proc/$(cat "$directory/pid")/cmdline" && alive=yes
  printf '\n%s works %s %s\n' @TOKEN@ "$alive" "$directory"
  cat "$directory/progress" 2>/dev/null
fi
"""


class Ended(NamedTuple):
    """The command has ended, with this."""

    rc: int
    stdout: str
    stderr: str


class Works(NamedTuple):
    """The command is at work, or its processes are gone without a result."""

    directory: str
    alive: bool
    progress: str


def start(command: str, token: str, owner: int, has_input: bool) -> str:
    """Start a session and wait a little for its end."""
    return _fill(
        _START + _LOOK,
        COMMAND=shlex.quote(command),
        SESSION=shlex.quote(_SESSION),
        INPUT='cat >"$directory/in"' if has_input else "",
        OWNER=str(owner),
        LOOKS=str(4 * (LOOK - 1)),
        TOKEN=token,
        # The result is on its way; it can be lost no more than that of a command without a session.
        AFTER='rm -rf "$directory"',
    )


def look(directory: str, token: str) -> str:
    """Wait a little for the end of a session. The result stays until it is forgotten."""
    asked = f'directory={shlex.quote(directory)}\n: >"$directory/asked"\n'
    return _fill(asked + _LOOK, LOOKS=str(4 * LOOK), TOKEN=token, AFTER=":")


def forget(directory: str) -> str:
    """Remove what a session has left."""
    return f"rm -rf {shlex.quote(directory)}"


def read(token: str, stdout: str) -> Ended | Works | None:
    """What start and look have said, among whatever else the way to the host puts around it."""
    match = re.search(rf"^{token} (ended|works) ([^\r\n]*)\r?\n", stdout, re.MULTILINE)
    if not match:
        return None
    text = stdout[match.end() :]
    if match.group(1) == "works":
        alive, _space, directory = match.group(2).partition(" ")
        return Works(directory, alive == "yes", text)
    output = re.split(rf"\r?\n{token} errors\r?\n", text, maxsplit=1)
    # Without the second mark the connection broke in the middle.
    return Ended(int(match.group(2)), output[0], output[1]) if len(output) == 2 else None


def _fill(script: str, **values: str) -> str:
    # As one command: Ansible sets others before and behind it.
    script = f"{{\n{script}}}"
    return re.sub("@([A-Z]+)@", lambda match: values[match.group(1)], script)
