# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the parts of the mailer's settings that its stages get to see."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mailer_parts
short_description: The parts of the mailer's settings that its stages get to see
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Takes all settings in the mailer's own words and gives each stage those that it works with, so that no stage knows a
    secret that it does not need.
positional: _input, stages
options:
  _input:
    description: The settings, by section.
    type: dict
    required: true
  stages:
    description: Names of stages.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show what a receiver gets
  ansible.builtin.debug:
    msg: "{{ settings | postmaster.mail.mailer_parts(['receiver']) }}"
"""

RETURN = r"""
_value:
  description:
    - Under C(all) C(plain), settings that may be shown, and C(secret), those that may not, to be laid over these.
    - Under the name of each stage the same two of what it gets; C(handed), files to hand to it, each by its C(source)
      and the C(path) under which the settings name it; and C(listens), each as C(address) and C(port).
  type: dict
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleFilterError


def mailer_parts(settings: Mapping[str, Any], stages: Sequence[str]) -> dict[str, Any]:
    """The parts of stages; see DOCUMENTATION."""

    from ansible_collections.postmaster.mail.plugins.module_utils import _mailer_plan

    if not isinstance(settings, Mapping):
        raise AnsibleFilterError("the mailer's settings must be sections with keys in them")
    try:
        parts = {stage: asdict(_mailer_plan.part(settings, stage)) for stage in stages}
    except _mailer_plan.MailerPlanError as err:
        raise AnsibleFilterError(str(err)) from None
    plain, secret = _mailer_plan.split(settings)
    return {"all": {"plain": plain, "secret": secret}, **parts}


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"mailer_parts": mailer_parts}
