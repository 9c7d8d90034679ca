# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SPF after RFC 7208, whole: this is what other files import; the parts lie in the files beside. Private."""

from __future__ import annotations

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout, Resolver
from ansible_collections.postmaster.mail.plugins.module_utils._spf_check import HOSTS_LIMIT, SpfResult, check_host
from ansible_collections.postmaster.mail.plugins.module_utils._spf_compose import compose, merge, overruled
from ansible_collections.postmaster.mail.plugins.module_utils._spf_explain import Explanation, explain
from ansible_collections.postmaster.mail.plugins.module_utils._spf_flatten import Flattened, flatten
from ansible_collections.postmaster.mail.plugins.module_utils._spf_macro import DomainSpec, Macro
from ansible_collections.postmaster.mail.plugins.module_utils._spf_record import (
    LOOKUP_LIMIT,
    LOOKUP_MECHANISMS,
    MECHANISMS,
    QUALIFIERS,
    SIZE_ADVISED,
    VERSION,
    VOID_LIMIT,
    Directive,
    Modifier,
    SpfError,
    SpfRecord,
    Term,
    is_spf,
    key,
    parse,
    term,
)
from ansible_collections.postmaster.mail.plugins.module_utils._spf_survey import (
    FAMILIES,
    Planned,
    Survey,
    question,
    survey,
)

__all__ = [
    "FAMILIES",
    "HOSTS_LIMIT",
    "LOOKUP_LIMIT",
    "LOOKUP_MECHANISMS",
    "MECHANISMS",
    "QUALIFIERS",
    "SIZE_ADVISED",
    "VERSION",
    "VOID_LIMIT",
    "Directive",
    "DnsTimeout",
    "DomainSpec",
    "Explanation",
    "Flattened",
    "Macro",
    "Modifier",
    "Planned",
    "Resolver",
    "SpfError",
    "SpfRecord",
    "SpfResult",
    "Survey",
    "Term",
    "check_host",
    "compose",
    "explain",
    "flatten",
    "is_spf",
    "key",
    "merge",
    "overruled",
    "parse",
    "question",
    "survey",
    "term",
]
