# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client's seat in the lab's room, for programs that only this machine has.

The room's network has no way in. A process in the bastion's network takes what comes to a Unix socket of this machine
and passes it on to the gateway; TLS is between the client here and the gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


async def pass_on(path: str, address: str, port: int) -> None:
    """Whatever connects to the socket is connected to the address."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(address, port)
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    server = await asyncio.start_unix_server(connect, path)
    async with server:
        await server.serve_forever()


@contextlib.contextmanager
def way_to(container: str, address: str, port: int, path: Path) -> Iterator[Path]:
    """A Unix socket that leads to an address of the container's network."""
    asked = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
    pid = subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    passes_on = subprocess.Popen(
        ["nsenter", "--target", pid, "--net", sys.executable, __file__, str(path), address, str(port)]
    )
    try:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert passes_on.poll() is None and time.monotonic() < deadline, "the way to the gateway does not open"
            time.sleep(0.05)
        yield path
    finally:
        passes_on.terminate()
        passes_on.wait()


class Seat:
    """Where clients sit: the gateway's name, the way to it, the CA that vouches for it, and the keys."""

    def __init__(self, name: str, path: Path, ca: str, keys: dict[str, str]) -> None:
        self.name, self.path, self.keys = name, path, keys
        self.context = ssl.create_default_context(cadata=ca)

    def client(self, who: str = "lab", key: str = "") -> Any:
        """The openai client; it asks once, so that nothing is hidden."""
        # What runs in the room has neither.
        import httpx2
        import openai

        transport = httpx2.HTTPTransport(verify=self.context, uds=str(self.path))
        return openai.OpenAI(
            base_url=f"https://{self.name}/v1",
            api_key=key or self.keys[who],
            max_retries=0,
            timeout=120,
            http_client=openai.DefaultHttpxClient(transport=transport),
        )

    def get(self, path: str, who: str = "") -> Any:
        """The bare answer at a path of the gateway."""
        import httpx2

        headers = {"Authorization": f"Bearer {self.keys[who]}"} if who else {}
        with httpx2.Client(transport=httpx2.HTTPTransport(verify=self.context, uds=str(self.path))) as client:
            return client.get(f"https://{self.name}{path}", headers=headers)


if __name__ == "__main__":
    asyncio.run(pass_on(sys.argv[1], sys.argv[2], int(sys.argv[3])))
