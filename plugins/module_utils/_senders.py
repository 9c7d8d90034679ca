# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data: services that send mail for others, and the records they ask for. Private to this collection.

To add one, add an entry to ``CATALOGUE``, its name to the choices of ``known`` in ``mail_records`` and its row to
``docs/senders.md``; a test compares the three. In names and targets ``{domain}`` stands for the mail domain without
its final dot, ``{dashed}`` for the same with dashes instead of dots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LAST_LOOK = "2026-11-20"


@dataclass(frozen=True)
class Alias:
    """A CNAME that delegates a DKIM selector: ``selector._domainkey`` of the domain points to ``target``."""

    selector: str
    target: str


@dataclass(frozen=True)
class KnownSender:
    """A service: its terms for SPF, its DKIM aliases, and what only its own console can tell.

    ``spf`` is empty where the service's bounces go to a domain of its own, so that receivers never ask the
    customer's SPF record. ``spf_lookups`` counts the DNS queries that its include costs, itself included (RFC 7208
    section 4.6.4); 0 where nobody counted. ``aliases`` are the same for every customer; the targets of
    ``own_aliases`` differ (their names too, where they are in capitals), and the console shows them.
    ``txt_selector`` is the selector of a TXT key that the service makes; ``verification`` how its proof of
    ownership begins.

    ``aligns`` says whether SPF helps DMARC (RFC 9989 section 4.4.2): ``always`` where the envelope sender is the
    customer's, ``bounce`` after a bounce domain is set up, as an alias for ``bounce_target`` where that is one for all
    customers, ``never`` otherwise; DKIM aligns with every one of them once its records are there. ``source`` is the
    service's documentation; ``seen`` the day on which the records were compared with it or with zones that hold them.
    """

    title: str
    spf: tuple[str, ...] = ()
    spf_lookups: int = 0
    aliases: tuple[Alias, ...] = ()
    own_aliases: tuple[str, ...] = ()
    txt_selector: str = ""
    verification: str = ""
    aligns: Literal["always", "bounce", "never"] = "never"
    bounce_target: str = ""
    note: str = ""
    source: str = ""
    seen: str = LAST_LOOK


def _aliases(selectors: str, target: str) -> tuple[Alias, ...]:
    """One alias for each of ``selectors``, which stands for ``{selector}`` in ``target``."""
    return tuple(Alias(selector, target.replace("{selector}", selector)) for selector in selectors.split())


CATALOGUE: dict[str, KnownSender] = {
    # Mailboxes: the envelope sender is an address of the customer.
    "google_workspace": KnownSender(
        title="Google Workspace",
        spf=("include:_spf.google.com",),
        spf_lookups=4,
        txt_selector="google",
        verification="google-site-verification=",
        aligns="always",
        note="The same for smtp-relay.gmail.com. Until DKIM is turned on it signs as gappssmtp.com, which does not "
        "align.",
        source="https://support.google.com/a/answer/33786",
    ),
    "microsoft_365": KnownSender(
        title="Microsoft 365",
        spf=("include:spf.protection.outlook.com",),
        spf_lookups=1,
        own_aliases=("selector1", "selector2"),
        verification="MS=",
        aligns="always",
        note="Targets end in onmicrosoft.com, or in dkim.mail.microsoft for newer domains. Until DKIM is turned on "
        "it signs as onmicrosoft.com, which does not align.",
        source="https://learn.microsoft.com/en-us/defender-office-365/email-authentication-dkim-configure",
    ),
    "fastmail": KnownSender(
        title="Fastmail",
        spf=("include:spf.messagingengine.com",),
        aliases=_aliases("fm1 fm2 fm3", "{selector}.{domain}.dkim.fmhosted.com."),
        aligns="always",
        source="https://www.fastmail.help/hc/en-us/articles/360060591153",
    ),
    "gandi": KnownSender(
        title="Gandi Mail",
        spf=("include:_mailcust.gandi.net",),
        aliases=_aliases("gm1 gm2 gm3", "{selector}.gandimail.net."),
        aligns="always",
        source="https://docs.gandi.net/en/domain_names/common_operations/dns_records.html",
    ),
    "icloud": KnownSender(
        title="iCloud custom domains",
        spf=("include:icloud.com",),
        aliases=_aliases("sig1", "{selector}.dkim.{domain}.at.icloudmailadmin.com."),
        verification="apple-domain=",
        aligns="always",
        source="https://support.apple.com/en-us/102374",
    ),
    "infomaniak": KnownSender(
        title="Infomaniak",
        spf=("include:spf.infomaniak.ch",),
        aligns="always",
        note="Its selectors are dates, so give dkim_selector with dkim_value.",
        source="https://www.infomaniak.com/en/support/faq",
    ),
    "ionos": KnownSender(
        title="IONOS (Europe)",
        spf=("include:_spf-eu.ionos.com",),
        aliases=(Alias("s1-ionos", "s1.dkim.ionos.com."), Alias("s2-ionos", "s2.dkim.ionos.com.")),
        aligns="always",
        note="The console shows a third alias, named after the account.",
        source="https://www.ionos.com/help/domains",
    ),
    "mailbox_org": KnownSender(
        title="mailbox.org",
        spf=("include:mailbox.org",),
        aliases=_aliases("mbo0001 mbo0002 mbo0003 mbo0004", "{selector}._domainkey.mailbox.org."),
        aligns="always",
        source="https://kb.mailbox.org/en/private/custom-domains/"
        "spf-dkim-and-dmarc-how-to-improve-spam-reputation-and-avoid-bounces",
    ),
    "migadu": KnownSender(
        title="Migadu",
        spf=("include:spf.migadu.com",),
        aliases=_aliases("key1 key2 key3", "{selector}.{domain}._domainkey.migadu.com."),
        verification="hosted-email-verify=",
        aligns="always",
        source="https://migadu.com/guides/",
    ),
    "ovh": KnownSender(
        title="OVHcloud mail",
        own_aliases=("SELECTOR1", "SELECTOR2"),
        spf=("include:mx.ovh.com",),
        aligns="always",
        note="DKIM comes with most of its offers, not with all.",
        source="https://help.ovhcloud.com/csm/en-dns-spf-record",
    ),
    "proton": KnownSender(
        title="Proton Mail",
        spf=("include:_spf.protonmail.ch",),
        own_aliases=("protonmail", "protonmail2", "protonmail3"),
        verification="protonmail-verification=",
        aligns="always",
        note="Targets end in domains.proton.ch.",
        source="https://proton.me/support/custom-domain",
    ),
    "zoho_mail": KnownSender(
        title="Zoho Mail",
        spf=("include:zohomail.com",),
        txt_selector="zoho",
        verification="zoho-verification=",
        aligns="always",
        source="https://www.zoho.com/mail/help/adminconsole/spf-configuration.html",
    ),
    "zoho_mail_eu": KnownSender(
        title="Zoho Mail (Europe)",
        spf=("include:zohomail.eu",),
        txt_selector="zoho",
        verification="zoho-verification=",
        aligns="always",
        source="https://www.zoho.com/mail/help/adminconsole/spf-configuration.html",
    ),
    # Services for newsletters and mail of programs: the envelope sender is theirs unless a bounce domain is set up.
    "amazon_ses": KnownSender(
        title="Amazon SES",
        own_aliases=("TOKEN1", "TOKEN2", "TOKEN3"),
        aligns="bounce",
        note="The selectors of the three aliases are tokens; each points to itself below dkim.amazonses.com. A "
        "custom MAIL FROM domain has the MX feedback-smtp.REGION.amazonses.com and include:amazonses.com in "
        "an SPF record of its own.",
        source="https://docs.aws.amazon.com/ses/latest/dg/send-email-authentication-dkim-easy.html",
    ),
    "brevo": KnownSender(
        title="Brevo",
        spf=("include:spf.brevo.com",),
        spf_lookups=1,
        aliases=(
            Alias("brevo1", "b1.{dashed}.dkim.brevo.com."),
            Alias("brevo2", "b2.{dashed}.dkim.brevo.com."),
        ),
        txt_selector="mail",
        verification="brevo-code:",
        aligns="bounce",
        note="Only with a dedicated address is the bounce domain the customer's and the include asked for.",
        source="https://help.brevo.com/hc/en-us/articles/12163873383186",
    ),
    "hubspot": KnownSender(
        title="HubSpot",
        own_aliases=("hs1-ACCOUNT", "hs2-ACCOUNT"),
        aligns="never",
        note="Two aliases, hs1-ACCOUNT and hs2-ACCOUNT, with targets below dkim.hubspotemail.net; the include that "
        "the console shows is named after the account, so write it as include.",
        source="https://knowledge.hubspot.com/marketing-email/manage-email-authentication-in-hubspot",
    ),
    "mailchimp": KnownSender(
        title="Mailchimp",
        aliases=(Alias("k2", "dkim2.mcsv.net."), Alias("k3", "dkim3.mcsv.net.")),
        source="https://mailchimp.com/help/set-up-email-domain-authentication/",
    ),
    "mailerlite": KnownSender(
        title="MailerLite",
        spf=("include:_spf.mlsend.com",),
        aliases=(Alias("litesrv", "litesrv._domainkey.mlsend.com."),),
        source="https://www.mailerlite.com/help/how-to-verify-and-authenticate-your-domain",
    ),
    "mailersend": KnownSender(
        title="MailerSend",
        spf=("include:_spf.mailersend.net",),
        own_aliases=("mlsend2",),
        aligns="bounce",
        source="https://www.mailersend.com/help/how-to-verify-and-authenticate-a-sending-domain",
    ),
    "mailgun": KnownSender(
        title="Mailgun",
        spf=("include:mailgun.org",),
        own_aliases=("pdk1", "pdk2"),
        aligns="bounce",
        note="Send from a subdomain such as mg, which is then the bounce domain, too. Without automatic keys the "
        "console shows a TXT record.",
        source="https://documentation.mailgun.com/docs/mailgun/user-manual/domains/domains-verify",
    ),
    "mailjet": KnownSender(
        title="Mailjet",
        spf=("include:spf.mailjet.com",),
        txt_selector="mailjet",
        aligns="bounce",
        bounce_target="bnc3.mailjet.com.",
        note="The label of the bounce domain is bnc3.",
        source="https://documentation.mailjet.com/hc/en-us/articles/360042412734",
    ),
    "mandrill": KnownSender(
        title="Mailchimp Transactional (Mandrill)",
        aliases=(Alias("mte1", "dkim1.mandrillapp.com."), Alias("mte2", "dkim2.mandrillapp.com.")),
        aligns="bounce",
        note="A bounce domain is one whose MX or alias leads to mandrillapp.com; then include:spf.mandrillapp.com "
        "counts there.",
        source="https://mailchimp.com/developer/transactional/docs/authentication-delivery/",
    ),
    "postmark": KnownSender(
        title="Postmark",
        aligns="bounce",
        bounce_target="pm.mtasv.net.",
        note="Its selectors are dates that end in pm, so give dkim_selector with dkim_value.",
        source="https://postmarkapp.com/support/article/1046-how-do-i-verify-a-domain",
    ),
    "salesforce": KnownSender(
        title="Salesforce",
        own_aliases=("SELECTOR1", "SELECTOR2"),
        spf=("include:_spf.salesforce.com",),
        aligns="bounce",
        note="Selectors and targets of the two aliases are chosen and shown in its setup. Without bounce "
        "management the envelope sender is the customer's.",
        source="https://help.salesforce.com/s/articleView?id=sf.emailadmin_create_secure_dkim.htm",
    ),
    "scaleway_tem": KnownSender(
        title="Scaleway Transactional Email",
        spf=("include:_spf.tem.scaleway.com",),
        aligns="always",
        note="Its selector is the project's id, so give dkim_selector with dkim_value.",
        source="https://www.scaleway.com/en/docs/transactional-email/how-to/authenticate-domain",
    ),
    "sendgrid": KnownSender(
        title="SendGrid",
        own_aliases=("s1", "s2"),
        aligns="bounce",
        note="A third alias, em and a number, is the bounce domain; the console shows it.",
        source="https://www.twilio.com/docs/sendgrid/ui/account-and-settings/how-to-set-up-domain-authentication",
    ),
    "sparkpost": KnownSender(
        title="SparkPost (Bird)",
        aligns="bounce",
        bounce_target="sparkpostmail.com.",
        note="Its selectors begin with scph, so give dkim_selector with dkim_value. In Europe the bounce target is "
        "eu.sparkpostmail.com.",
        source="https://support.sparkpost.com/docs/getting-started/setting-up-domains",
        seen="",
    ),
    "zendesk": KnownSender(
        title="Zendesk",
        spf=("include:mail.zendesk.com",),
        aliases=_aliases("zendesk1 zendesk2", "{selector}._domainkey.zendesk.com."),
        aligns="always",
        note="Proof of ownership is a TXT record at zendeskverification below the domain.",
        source="https://support.zendesk.com/hc/en-us/articles/4408832543770",
    ),
}
