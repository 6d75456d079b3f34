# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``verify`` passes on a good host, and fails with a wrong key."""

from __future__ import annotations

import json

from site_under_test import run_playbook
from testinfra.host import Host


def test_a_good_host_passes() -> None:
    run = run_playbook("verify")
    assert run.status == 0, run.output
    assert "streamed" in run.output


def test_a_wrong_key_fails(bastion: Host) -> None:
    bastion.check_output("sh -c %s", "umask 077; echo not-the-key > /etc/airgap/wrong.key")
    run = run_playbook("verify", acceptance_api_key_file="/etc/airgap/wrong.key")
    assert run.status != 0
    assert "401" in run.output
    assert "not-the-key" not in run.output


def test_a_client_is_streamed_to(bastion: Host) -> None:
    """The answer as a client gets it, with the site's CA and the key from a file."""
    body = {"model": "tiny", "stream": True, "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}
    streamed = bastion.check_output(
        "curl -sSN --fail-with-body --cacert /srv/airgap/ca.pem --header @/etc/airgap/client.header "
        "--header 'Content-Type: application/json' --data %s https://gpu1/v1/chat/completions",
        json.dumps(body),
    )
    assert streamed.count("data: ") > 2
    assert streamed.rstrip().endswith("data: [DONE]")
