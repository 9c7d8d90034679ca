#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_records
short_description: Derive the DNS records that mail domains need
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Turns the description of mail domains into the records that DNS must hold - MX or null MX, SPF, DKIM and DMARC, and
    where they are asked for MTA-STS, TLS-RPT, TLSA, SRV, CAA, BIMI and those of the hosts themselves.
  - It changes nothing; M(postmaster.mail.dns_records) publishes what it returns.
  - Records that would do harm are refused with a sentence that names the domain and the term - C(+all), more than ten
    lookups, two SPF records, private addresses, two keys under one selector.
requirements:
  - dnspython >= 2.3 on the host that runs the module (Debian package python3-dnspython), with O(prove)
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.read_only
options:
  domains:
    description: The mail domains, usually C(mail_domains) of the inventory.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The domain; international names in their C(xn--) form.
        type: str
        required: true
      senders:
        description:
          - Who may send mail of this domain. Each entry has exactly one of O(domains[].senders[].hosts),
            O(domains[].senders[].known), O(domains[].senders[].include), O(domains[].senders[].ip4),
            O(domains[].senders[].ip6), O(domains[].senders[].a), O(domains[].senders[].mx) and
            O(domains[].senders[].term).
          - A domain without senders gets C(v=spf1 -all) and, unless O(domains[].dmarc) says otherwise, C(p=reject).
        type: list
        elements: dict
        default: []
        suboptions:
          hosts:
            description: A key of O(hosts), whose addresses may send.
            type: str
          known:
            description:
              - A service of the catalogue, see
                U(https://github.com/postmaster-mail/postmaster.mail/blob/main/docs/senders.md).
            type: str
            choices: [amazon_ses, brevo, fastmail, gandi, google_workspace, hubspot, icloud, infomaniak, ionos,
              mailbox_org, mailchimp, mailerlite, mailersend, mailgun, mailjet, mandrill, microsoft_365, migadu, ovh,
              postmark, proton, salesforce, scaleway_tem, sendgrid, sparkpost, zendesk, zoho_mail,
              zoho_mail_eu]
          include:
            description: A domain whose SPF record is included.
            type: str
          ip4:
            description: An IPv4 address or network.
            type: str
          ip6:
            description: An IPv6 address or network.
            type: str
          a:
            description: A host whose addresses may send.
            type: str
          mx:
            description: The domain's own MX hosts may send.
            type: bool
          term:
            description: Any other SPF mechanism as it is written in the record.
            type: str
          verification:
            description: With O(domains[].senders[].known), the code by which the service proves who owns the domain.
            type: str
          dkim_value:
            description:
              - With O(domains[].senders[].known), the text of the DKIM record that the service's console shows.
            type: str
          dkim_selector:
            description: Its selector, where it is not the one the service uses by default.
            type: str
          dkim_cnames:
            description:
              - With O(domains[].senders[].known), the aliases of the DKIM keys that its console shows - each selector
                with its target.
            type: dict
          bounce:
            description:
              - With O(domains[].senders[].known), the label below the domain that bounces go to, such as V(pm-bounces).
                It becomes an alias for the service's host, so that SPF aligns, too.
            type: str
      spf_all:
        description:
          - What receivers shall do with mail from elsewhere. The default is V(~all), and V(-all) without senders.
        type: str
        choices: ['-all', '~all', '?all', '+all']
      spf_allow:
        description:
          - Refusals of the SPF record to pass over; the option C(allow) of M(postmaster.mail.spf_record) tells what
            each of them is. All but V(pass_all) and a part of V(lookups) are only met with O(prove).
        type: list
        elements: str
        choices: [pass_all, lookups, voids, broken_target, unanswered, unreached, stranger]
        default: []
      mx:
        description: The hosts that receive mail for the domain. Without any, its MX records are left alone.
        type: list
        elements: dict
        default: []
        suboptions:
          host:
            description: Name of the host, which must have addresses and be no alias.
            type: str
            required: true
          priority:
            description: Lower is tried first.
            type: int
            default: 10
      receives:
        description: V(false) says by a null MX (RFC 7505) that the domain takes no mail.
        type: bool
      dkim:
        description:
          - What M(postmaster.mail.dkim_key) is asked to make for the domain. Here only C(target) counts, the name that
            the CNAME of each of C(selectors) leads to, with C({selector}), C({domain}) and C({dashed}). The keys'
            records are then to be there.
        type: dict
      dmarc:
        description:
          - The DMARC policy (RFC 9989). A domain below another described one has none of its own unless this is given.
        type: dict
        suboptions:
          policy:
            description:
              - What receivers shall do with mail that fails. The default is V(none), and V(reject) without senders.
            type: str
            choices: [none, quarantine, reject]
          subdomain_policy:
            description: The same for subdomains.
            type: str
            choices: [none, quarantine, reject]
          nonexistent_policy:
            description: The same for subdomains that do not exist.
            type: str
            choices: [none, quarantine, reject]
          rua:
            description: Where aggregate reports go, addresses or URIs.
            type: list
            elements: str
          ruf:
            description: Where failure reports go, addresses or URIs.
            type: list
            elements: str
          fo:
            description: When failure reports are wanted.
            type: list
            elements: str
            choices: ['0', '1', 'd', 's']
          adkim:
            description: How exactly the DKIM domain must match.
            type: str
            choices: [relaxed, strict]
          aspf:
            description: How exactly the SPF domain must match.
            type: str
            choices: [relaxed, strict]
          testing:
            description: Ask receivers to apply the policy one step below (C(t=y)).
            type: bool
            default: false
          psd:
            description: Whether the domain is a public suffix, or certainly none (C(psd)).
            type: str
            choices: ['y', 'n', 'u']
      mta_sts:
        description:
          - Publish an MTA-STS record (RFC 8461). The policy file comes back in RV(policies), for a web server to serve.
          - The record's C(id) is made from the policy, so that it changes when the policy does.
        type: dict
        suboptions:
          mode:
            description: What senders do when TLS fails.
            type: str
            choices: [testing, enforce, none]
            default: testing
          mx:
            description: Hosts that the policy allows, C(*.) stands for one label. By default those of O(domains[].mx).
            type: list
            elements: str
          max_age:
            description: How long senders keep the policy, in seconds.
            type: int
            default: 604800
          id:
            description: Another id for the record, 1 to 32 letters and digits.
            type: str
          host:
            description: The web server that serves the policy; C(mta-sts) below the domain becomes a CNAME for it.
            type: str
      tls_rpt:
        description: Ask for reports on TLS (RFC 8460).
        type: dict
        suboptions:
          rua:
            description: Where they go, addresses or C(https) URIs.
            type: list
            elements: str
            required: true
      tlsa:
        description:
          - TLSA records (DANE) of hosts in the described domains, whose zones must be signed with DNSSEC.
          - Each key is a certificate or a public key in PEM, made into a record C(3 1 1), or the text of a record.
        type: list
        elements: dict
        suboptions:
          host:
            description: Name of the host, usually one of O(domains[].mx).
            type: str
            required: true
          port:
            description: The service's port.
            type: int
            default: 25
          current:
            description: The key in use, by default from O(tls_keys). Without one there is no record.
            type: str
          next:
            description: The key that takes over; publish it at least two TTLs before it does (RFC 7672 section 8.1).
            type: str
      autoconfig:
        description:
          - SRV records by which mail programs find their servers (RFC 6186, RFC 8314).
          - A host, C(host:port) where the port is not the usual one, or V(.) to say that the service is not offered.
        type: dict
        suboptions:
          submissions:
            description: Submission with TLS from the start, port 465.
            type: str
          submission:
            description: Submission with STARTTLS, port 587.
            type: str
          imaps:
            description: IMAP with TLS from the start, port 993.
            type: str
          imap:
            description: IMAP with STARTTLS, port 143.
            type: str
          pop3s:
            description: POP3 with TLS from the start, port 995.
            type: str
          pop3:
            description: POP3 with STARTTLS, port 110.
            type: str
          sieve:
            description: ManageSieve, port 4190.
            type: str
          web:
            description:
              - Web server that answers Thunderbird and Outlook; C(autoconfig) and C(autodiscover) below the domain
                become CNAMEs for it.
            type: str
      caa:
        description:
          - Authorities that may issue certificates for the domain, such as V(letsencrypt.org), or whole CAA records,
            such as V(0 issuewild ";").
        type: list
        elements: str
      bimi:
        description: The domain's logo (BIMI), shown by some receivers where the DMARC policy is enforced.
        type: dict
        suboptions:
          logo:
            description: Its address, C(https), an SVG file; without it the domain declines.
            type: str
          certificate:
            description: The address of its certificate.
            type: str
          selector:
            description: The record's selector.
            type: str
            default: default
      texts:
        description:
          - Other TXT records at the domain's own name, such as proofs of ownership, each in one piece.
          - M(postmaster.mail.dns_records) leaves those alone that it is not told of. octoDNS and dnscontrol do not, so
            with these name all of them here.
        type: list
        elements: str
      no_mail:
        description:
          - Names in the domain that neither send nor receive, such as V(www). They get a null MX and C(v=spf1 -all).
          - V(*) stands for all names without records of their own. All names exist then, so O(domains[].dmarc) is the
            same for all of them.
        type: list
        elements: str
      host_records:
        description:
          - Hosts in the domain that mail needs, such as those of O(domains[].mx), with their addresses (A, AAAA) or as
            aliases (CNAME). All others are left alone.
          - What O(domains[].mx) and O(domains[].autoconfig) name must be no alias (RFC 2181 section 10.3, RFC 2782).
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the host, in full or below the domain.
            type: str
            required: true
          addresses:
            description: All its addresses, IPv4 and IPv6.
            type: list
            elements: str
          alias_of:
            description: The host that it is another name of, in full. It has no addresses and nothing else then.
            type: str
          ptr:
            description:
              - Whether its addresses are called by its name (PTR). Only where their reverse zones are yours.
            type: bool
            default: false
      reports_for:
        description:
          - Domains described elsewhere whose DMARC reports come to addresses in this one. They need its consent
            (RFC 9990).
          - For described domains the consent is made of itself. V(*) stands for all domains.
        type: list
        elements: str
      ttl:
        description: TTL of the domain's records, in seconds.
        type: int
        default: 3600
  zones:
    description: The zones of RV(zones), where they are not the domains themselves. The closest one holds a record.
    type: list
    elements: str
    default: []
  hosts:
    description: Public addresses that the mail of hosts or groups of hosts leaves from, by name.
    type: dict
    default: {}
  dkim_keys:
    description:
      - Keys as M(postmaster.mail.dkim_key) returns them, or their records. Those that have a record are published,
        whatever their state.
    type: list
    elements: dict
    default: []
  tls_keys:
    description: Keys that the hosts of O(domains[].tlsa) hold.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Name of the host.
        type: str
        required: true
      current:
        description: The key in use, as in O(domains[].tlsa[].current).
        type: str
        required: true
      next:
        description: The key that takes over.
        type: str
  prove:
    description:
      - Judge every SPF record as receivers will, before it is published, with the other records of this call as if they
        were published, and DNS for everything else. The addresses of its O(hosts) have to pass, strangers must neither
        pass nor end in an error, and ten lookups, two of them without an answer, have to be enough.
      - What is refused can be allowed for a domain, see O(domains[].spf_allow). DNS is only asked where a record has
        more than addresses.
      - Without this option DNS is not asked.
    type: dict
    suboptions:
      resolver:
        description:
          - Address (or C(address@port)) of the resolver to ask; without it that of the machine that the module runs on.
        type: str
      timeout:
        description: Seconds to wait for each answer of the resolver.
        type: float
        default: 5
      unanswered:
        description:
          - What to do where DNS does not answer, or no resolver is within reach. V(refuse) fails, V(accept) warns.
        type: str
        choices: [refuse, accept]
        default: refuse
"""

EXAMPLES = r"""
- name: Derive the records of every domain
  postmaster.mail.mail_records:
    domains:
      - name: example.org
        senders:
          - hosts: relays
          - known: google_workspace
          - known: brevo
        spf_all: "-all"
        mx:
          - host: mx1.example.org
            priority: 10
        dmarc:
          policy: quarantine
          rua: [dmarc@example.org]
        mta_sts:
          mode: enforce
          host: web.example.org
        tls_rpt:
          rua: [tls@example.org]
        tlsa:
          - host: mx1.example.org
            current: "{{ lookup('ansible.builtin.file', 'mx1.example.org.pem') }}"
        autoconfig:
          submissions: mail.example.org
          imaps: mail.example.org
          pop3s: "."
        no_mail: [www]
        host_records:
          - name: mx1
            addresses: [192.0.2.25, "2001:db8::25"]
          - name: pmg
            alias_of: mx1.example.org
      - name: parked.example.org
        receives: false
    hosts:
      relays: [192.0.2.25, "2001:db8::25"]
    dkim_keys: "{{ keys.keys }}"
  register: mail

- name: Derive them, and fail if receivers would not take the SPF record as it is meant
  postmaster.mail.mail_records:
    domains:
      - name: example.org
        senders:
          - hosts: relays
          - include: _spf.provider.example
    hosts:
      relays: [192.0.2.25, "2001:db8::25"]
    prove: {}

- name: Show them as zone-file text
  ansible.builtin.debug:
    msg: "{{ mail.zone_text }}"
"""

RETURN = r"""
records:
  description: The records; C(rdata) as a zone file has it, TXT records also with C(value) and C(strings).
  returned: success
  type: list
  elements: dict
  sample:
    - {"name": "example.org.", "type": "MX", "ttl": 3600, "rdata": "10 mx1.example.org."}
zone_text:
  description: The same as zone-file text, domain by domain.
  returned: success
  type: str
  sample: "; example.org\nexample.org. 3600 IN MX 10 mx1.example.org.\n"
zones:
  description:
    - The same for other tools, by zone. Every domain is taken as a zone of its own, unless O(zones) names the zones.
    - Records outside of them are left out, and named in a warning.
  returned: success
  type: dict
  contains:
    octodns:
      description: The zone's file for octoDNS's C(YamlProvider) with C(escaped_semicolons=false).
      type: str
    dnscontrol:
      description: JavaScript for dnscontrol that adds the records to a domain declared with C(D()).
      type: str
  sample:
    example.org:
      octodns: "---\n\"\":\n  - ttl: 3600\n    type: MX\n"
      dnscontrol: "D_EXTEND(\"example.org\",\n  MX(\"@\", 10, \"mx1.example.org.\", TTL(3600))\n);\n"
spf:
  description: What receivers will make of each SPF record; empty without O(prove).
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: The domain.
      type: str
    proven:
      description: Whether DNS answered everything that was asked.
      type: bool
    lookups:
      description: How many lookups a stranger costs, with those of all includes; null where DNS cannot be asked.
      type: int
    voids:
      description: Terms that have no answer, for clients of IPv4 or IPv6, whichever has more of them.
      type: list
      elements: str
    probes:
      description: The verdicts on the domain's own addresses and on strangers, as of M(postmaster.mail.spf_record).
      type: list
      elements: dict
  sample:
    - {"domain": "example.org", "proven": true, "lookups": 1, "voids": [], "probes": []}
policies:
  description: The MTA-STS policies, and the addresses that a web server must serve them at.
  returned: success
  type: list
  elements: dict
  sample:
    - domain: example.org
      url: https://mta-sts.example.org/.well-known/mta-sts.txt
      content: "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.org\r\nmax_age: 604800\r\n"
warnings:
  description: What is allowed but should be looked at.
  returned: when there is something
  type: list
  elements: str
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.postmaster.mail.plugins.module_utils import _records_formats
from ansible_collections.postmaster.mail.plugins.module_utils._dns_watch import LateResolver
from ansible_collections.postmaster.mail.plugins.module_utils._records import Derived, derive
from ansible_collections.postmaster.mail.plugins.module_utils._records_domain import RecordsError
from ansible_collections.postmaster.mail.plugins.module_utils._records_proof import Proof, prove
from ansible_collections.postmaster.mail.plugins.module_utils._senders import CATALOGUE
from ansible_collections.postmaster.mail.plugins.module_utils._spf_plan import REFUSALS
from ansible_collections.postmaster.mail.plugins.module_utils._srv import SERVICES

POLICIES = ["none", "quarantine", "reject"]
SENDER_SPEC: dict[str, Any] = {
    "hosts": {"type": "str"},
    "known": {"type": "str", "choices": sorted(CATALOGUE)},
    "include": {"type": "str"},
    "ip4": {"type": "str"},
    "ip6": {"type": "str"},
    "a": {"type": "str"},
    "mx": {"type": "bool"},
    "term": {"type": "str"},
    "verification": {"type": "str"},
    "dkim_value": {"type": "str"},
    "dkim_selector": {"type": "str"},
    "dkim_cnames": {"type": "dict"},
    "bounce": {"type": "str"},
}
DMARC_SPEC: dict[str, Any] = {
    "policy": {"type": "str", "choices": POLICIES},
    "subdomain_policy": {"type": "str", "choices": POLICIES},
    "nonexistent_policy": {"type": "str", "choices": POLICIES},
    "rua": {"type": "list", "elements": "str"},
    "ruf": {"type": "list", "elements": "str"},
    "fo": {"type": "list", "elements": "str", "choices": ["0", "1", "d", "s"]},
    "adkim": {"type": "str", "choices": ["relaxed", "strict"]},
    "aspf": {"type": "str", "choices": ["relaxed", "strict"]},
    "testing": {"type": "bool", "default": False},
    "psd": {"type": "str", "choices": ["y", "n", "u"]},
}
MX_SPEC: dict[str, Any] = {
    "host": {"type": "str", "required": True},
    "priority": {"type": "int", "default": 10},
}
MTA_STS_SPEC: dict[str, Any] = {
    "mode": {"type": "str", "choices": ["testing", "enforce", "none"], "default": "testing"},
    "mx": {"type": "list", "elements": "str"},
    "max_age": {"type": "int", "default": 604800},
    "id": {"type": "str"},
    "host": {"type": "str"},
}
TLSA_SPEC: dict[str, Any] = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 25},
    "current": {"type": "str"},
    "next": {"type": "str"},
}
TLS_KEY_SPEC: dict[str, Any] = {
    "host": {"type": "str", "required": True},
    "current": {"type": "str", "required": True},
    "next": {"type": "str"},
}
BIMI_SPEC: dict[str, Any] = {
    "logo": {"type": "str"},
    "certificate": {"type": "str"},
    "selector": {"type": "str", "default": "default"},
}
HOST_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "addresses": {"type": "list", "elements": "str"},
    "alias_of": {"type": "str"},
    "ptr": {"type": "bool", "default": False},
}
DOMAIN_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "senders": {"type": "list", "elements": "dict", "default": [], "options": SENDER_SPEC},
    "spf_all": {"type": "str", "choices": ["-all", "~all", "?all", "+all"]},
    "spf_allow": {
        "type": "list",
        "elements": "str",
        "choices": [one for one in REFUSALS if one != "two_records"],
        "default": [],
    },
    "mx": {"type": "list", "elements": "dict", "default": [], "options": MX_SPEC},
    "receives": {"type": "bool"},
    "dkim": {"type": "dict"},
    "dmarc": {"type": "dict", "options": DMARC_SPEC},
    "mta_sts": {"type": "dict", "options": MTA_STS_SPEC},
    "tls_rpt": {"type": "dict", "options": {"rua": {"type": "list", "elements": "str", "required": True}}},
    "tlsa": {"type": "list", "elements": "dict", "options": TLSA_SPEC},
    "autoconfig": {"type": "dict", "options": {service: {"type": "str"} for service in (*SERVICES, "web")}},
    "caa": {"type": "list", "elements": "str"},
    "bimi": {"type": "dict", "options": BIMI_SPEC},
    "texts": {"type": "list", "elements": "str"},
    "no_mail": {"type": "list", "elements": "str"},
    "host_records": {"type": "list", "elements": "dict", "options": HOST_SPEC},
    "reports_for": {"type": "list", "elements": "str"},
    "ttl": {"type": "int", "default": 3600},
}
PROVE_SPEC: dict[str, Any] = {
    "resolver": {"type": "str"},
    "timeout": {"type": "float", "default": 5},
    "unanswered": {"type": "str", "choices": ["refuse", "accept"], "default": "refuse"},
}
ARGUMENT_SPEC: dict[str, Any] = {
    "zones": {"type": "list", "elements": "str", "default": []},
    "domains": {"type": "list", "elements": "dict", "required": True, "options": DOMAIN_SPEC},
    "hosts": {"type": "dict", "default": {}},
    "dkim_keys": {"type": "list", "elements": "dict", "default": [], "no_log": False},
    "tls_keys": {"type": "list", "elements": "dict", "default": [], "options": TLS_KEY_SPEC, "no_log": False},
    "prove": {"type": "dict", "options": PROVE_SPEC},
}


def _proofs(derived: Derived, options: dict[str, Any] | None) -> list[Proof]:
    """What receivers will make of the SPF records, where that is asked for."""
    if options is None:
        return []
    resolver = LateResolver(options["resolver"], timeout=options["timeout"])
    try:
        accept = options["unanswered"] == "accept"
        return prove(derived.spf, derived.records, resolver, accept_unanswered=accept)
    finally:
        resolver.close()


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    hosts = {name: [found] if isinstance(found, str) else list(found or ()) for name, found in params["hosts"].items()}
    try:
        derived = derive(params["domains"], hosts=hosts, dkim_keys=params["dkim_keys"], tls_keys=params["tls_keys"])
        proofs = _proofs(derived, params["prove"])
    except RecordsError as err:
        module.fail_json(msg=str(err))
    except ImportError as err:
        # Only certificates and keys for TLSA records need it.
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(err))
    zones = params["zones"] or [domain["name"] for domain in params["domains"]]
    try:
        files, outside = _records_formats.files(derived.records, zones)
    except _records_formats.FormatError as err:
        module.fail_json(msg=str(err))
    unproven = [f"the SPF record of {one.domain} is not proven: {one.unproven}" for one in proofs if one.unproven]
    if not params["zones"]:  # nobody has said that the zones of addresses are wanted there
        outside = [text for text in outside if ".arpa. PTR " not in text]
    for warning in (*derived.warnings, *outside, *unproven):
        module.warn(warning)
    module.exit_json(
        changed=False,
        records=[record.as_dict() for record in derived.records],
        zone_text=derived.zone_text,
        zones=files,
        spf=[proof.as_dict() for proof in proofs],
        policies=[asdict(policy) for policy in derived.policies],
    )


if __name__ == "__main__":
    main()
