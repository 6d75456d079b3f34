# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""These tests run in a plain pytest: Ansible's own finder lets them import collections and find filters by their names."""

from __future__ import annotations

from ansible.plugins.loader import init_plugin_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig

# ansible-test has set up its own finder by now.
if AnsibleCollectionConfig.collection_finder is None:
    init_plugin_loader()
