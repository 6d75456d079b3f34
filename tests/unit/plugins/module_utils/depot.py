# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A depot's model source on this machine: a real rsync daemon, and TLS in front that asks for a client certificate."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import subprocess
import threading
from pathlib import Path


def authority(directory: Path, name: str) -> None:
    """A CA: <name>.pem and <name>.key."""
    _openssl(
        directory,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign"),
        *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
    )


def certificate(directory: Path, name: str, ca: str, subject_alt_name: str) -> None:
    """A certificate of the CA: <name>.pem and <name>.key."""
    (directory / f"{name}.ext").write_text(
        f"subjectAltName={subject_alt_name}\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    _openssl(
        directory,
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"),
        *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
    )
    _openssl(
        directory,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial"),
        *("-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem"),
    )


class ModelSource:
    """Serves directory/models; each connection gets an rsync daemon of its own, as inetd would start it."""

    def __init__(self, directory: Path, server: str, ca: str) -> None:
        config = directory / "rsyncd.conf"
        config.write_text(
            "use chroot = no\nreverse lookup = no\nlog file = /dev/null\n"
            f"[models]\npath = {directory / 'models'}\nread only = yes\nlist = no\n"
        )
        self._command = ["rsync", "--daemon", f"--config={config}"]
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(directory / f"{server}.pem", directory / f"{server}.key")
        self._context.load_verify_locations(directory / f"{ca}.pem")
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        # After so many bytes to a host, its connection breaks; once.
        self.break_after: int | None = None
        self.sent = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A host that turns away from the certificate, or whose certificate is refused, ends here.
        with contextlib.suppress(OSError), self._context.wrap_socket(connection, server_side=True) as host:
            ours, theirs = socket.socketpair()
            with ours, subprocess.Popen(self._command, stdin=theirs.fileno(), stdout=theirs.fileno()):
                theirs.close()
                self._carry(host, ours)

    def _carry(self, host: ssl.SSLSocket, daemon: socket.socket) -> None:
        while True:
            ready = [host] if host.pending() else select.select([host, daemon], [], [])[0]
            if host in ready:
                data = host.recv(65536)
                if not data:
                    return
                daemon.sendall(data)
            if daemon in ready:
                data = daemon.recv(65536)
                if not data:
                    # openssl s_client takes a connection that ends without this for an attack.
                    host.unwrap()
                    return
                host.sendall(data)
                self.sent += len(data)
                if self.break_after is not None and self.sent > self.break_after:
                    self.break_after = None
                    host.shutdown(socket.SHUT_RDWR)
                    return


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)
