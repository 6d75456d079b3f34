#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: endpoint_probe
short_description: Prove that an OpenAI-compatible endpoint generates
version_added: "0.1.0"
description:
  - Asks the health path, then C(/v1/models), then lets the endpoint generate, streamed as a client would have it,
    and measures the time to the first token.
  - An engine that answers its health path and cannot generate fails here. So does a stream that is cut off, that carries an error,
    or that ends without a token. Tokens count, not their text.
  - The message says at which of these it failed, at which address, and what to do.
author:
  - airgap.inference contributors (@airgap-inference)
attributes:
  check_mode:
    support: full
    description: The module changes nothing, and runs in check mode as it does otherwise.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: The module changes nothing. What a model generates may differ from one run to the next.
options:
  url:
    description:
      - Where the endpoint is, as C(https://host[:port]). Proxies from the environment are not used.
      - With C(http://) no key is sent to another machine.
      - Exactly one of O(url) and O(socket) is needed.
    type: str
  socket:
    description:
      - The path of a Unix socket on which an engine listens with plain HTTP.
    type: path
  ca_path:
    description:
      - The certificate of the authority that signed the endpoint's, in PEM form. Without it those of the system are trusted.
    type: path
  api_key:
    description:
      - The key, sent as a bearer token.
    type: str
  api_key_file:
    description:
      - A file on the host that runs the module with the key and nothing else.
    type: path
  health_path:
    description:
      - The path that tells whether the service is up. Empty to leave this out, for a gateway that does not pass it on.
    type: str
    default: /health
  endpoint:
    description:
      - What to ask for, V(chat) at C(/v1/chat/completions), or V(completions) at C(/v1/completions) for a model without a chat template.
    type: str
    choices: [chat, completions]
    default: chat
  model:
    description:
      - Which model to ask. Without it the first that the endpoint lists.
    type: str
  prompt:
    description:
      - What to ask it.
    type: str
    default: Say hello.
  max_tokens:
    description:
      - How many tokens to generate at most.
    type: int
    default: 16
  stream:
    description:
      - Whether to ask for a stream. Without one there is no time to the first token.
    type: bool
    default: true
  timeout:
    description:
      - Seconds that one attempt may take as a whole, from the first connection to the last token.
    type: int
    default: 60
  wait:
    description:
      - For how many seconds to try again while nothing answers or the service says that it is not ready. V(0) tries once.
      - What waiting does not mend is reported at once, such as a certificate, a key, a model's name, or a failed generation.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Clients of the gateway get answers
  airgap.inference.endpoint_probe:
    url: https://gpu1.example.org
    ca_path: /etc/airgap/ca.pem
    api_key: "{{ acceptance_api_key }}"
    model: llama-3.1-8b-instruct
    health_path: ""

- name: A new engine generates before clients are let in
  airgap.inference.endpoint_probe:
    socket: /run/airgap-inference/chat/engine.sock
    wait: 900
"""

RETURN = r"""
models:
  description: The models that the endpoint lists.
  returned: success
  type: list
  elements: str
  sample: [llama-3.1-8b-instruct]
generation:
  description: What it generated.
  returned: success
  type: dict
  contains:
    model:
      description: The model that was asked.
      type: str
      sample: llama-3.1-8b-instruct
    text:
      description: The text, that of the reasoning first.
      type: str
      sample: Hello! How can I help you today?
    chunks:
      description: In how many pieces it came.
      type: int
      sample: 10
    tokens:
      description: How many tokens the endpoint says it generated. V(null) where it does not say.
      type: int
      sample: 9
    finish_reason:
      description: Why it ended.
      type: str
      sample: stop
ttft_ms:
  description: Milliseconds from the request to the first token. V(null) without a stream.
  returned: success
  type: float
  sample: 41.7
total_ms:
  description: Milliseconds from the request to the end of the answer.
  returned: success
  type: float
  sample: 187.3
attempts:
  description: How often it was tried.
  returned: success
  type: int
  sample: 1
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _http, _openai
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str"},
            "socket": {"type": "path"},
            "ca_path": {"type": "path"},
            "api_key": {"type": "str", "no_log": True},
            "api_key_file": {"type": "path", "no_log": False},
            "health_path": {"type": "str", "default": "/health"},
            "endpoint": {"type": "str", "choices": ["chat", "completions"], "default": "chat"},
            "model": {"type": "str"},
            "prompt": {"type": "str", "default": "Say hello."},
            "max_tokens": {"type": "int", "default": 16, "no_log": False},
            "stream": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 60},
            "wait": {"type": "int", "default": 0},
        },
        mutually_exclusive=[("url", "socket"), ("socket", "ca_path"), ("api_key", "api_key_file")],
        required_one_of=[("url", "socket")],
        supports_check_mode=True,
    )
    given = module.params
    try:
        address = (
            _http.Address(unix=given["socket"]) if given["socket"] else _http.parse_url(given["url"], given["ca_path"])
        )
        key = given["api_key"]
        if given["api_key_file"]:
            key = _openai.read_key(given["api_key_file"])
            # An endpoint may repeat the key in what it says of it.
            module.no_log_values.add(key)
        asked = {
            name: given[name]
            for name in ("health_path", "endpoint", "model", "prompt", "max_tokens", "stream", "timeout")
        }
        result = _openai.wait_for(_openai.Question(address=address, key=key, **asked), given["wait"])
    except AirgapError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
