# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rulesets of others: those that tools wrote (files, see make_rulesets.sh), and those that people write."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "rulesets"

FILTER = ":INPUT {0} [0:0]\n:FORWARD {1} [0:0]\n:OUTPUT {2} [0:0]\n"
NAT = ":PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"


def _filter(rules: str, policies: tuple[str, str, str] = ("ACCEPT", "ACCEPT", "ACCEPT"), chains: str = "") -> str:
    return f"*filter\n{FILTER.format(*policies)}{chains}{rules}COMMIT\n"


def _nat(rules: str, chains: str = "") -> str:
    return f"*nat\n{NAT}{chains}{rules}COMMIT\n"


# What people write for IPv4; the lines as they type them, not as they are printed.
BY_HAND = {
    "nothing": "",
    "a host that drops": _filter(
        "-A INPUT -i lo -j ACCEPT\n-A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT\n"
        "-A INPUT -p tcp --dport 22 -j ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n",
        ("DROP", "DROP", "ACCEPT"),
    ),
    "the wiki's gateway": _nat(
        "-A PREROUTING -s 192.0.2.200 -d 203.0.113.5 -p tcp --dport 25 -j DNAT --to 10.1.0.102:25\n"
        "-A PREROUTING -s 10.1.0.0/24 -d 203.0.113.5 -p tcp --dport 25 -j DNAT --to 10.1.0.102:25\n"
        "-A POSTROUTING -s 10.1.0.0/24 -o eth0 -j MASQUERADE\n"
    ),
    "another mail server behind it": _nat(
        "-A PREROUTING -d 203.0.113.6 -p tcp -m multiport --dports 25,465,587 -j DNAT --to-destination 10.1.0.110\n"
        "-A PREROUTING -i eth0 -p tcp --dport 2525 -j REDIRECT --to-ports 25\n"
        "-A POSTROUTING -s 10.1.0.110 -j SNAT --to-source 203.0.113.6\n"
    ),
    "the same rule twice": _nat(
        "-A PREROUTING -p tcp --dport 80 -j DNAT --to 10.1.0.80\n-A PREROUTING -p tcp --dport 80 -j DNAT --to 10.1.0.80\n"
    ),
    "comments that hurt": _filter(
        '-A INPUT -m comment --comment "it\'s \\"POSTMASTER-SMTP-DNAT\\" \\\\ -j DROP" -j ACCEPT\n'
        '-A INPUT -m comment --comment "COMMIT" -j ACCEPT\n'
        '-A FORWARD -m comment --comment "*nat" -j ACCEPT\n'
        '-A FORWARD -m comment --comment ":FORWARD DROP [0:0]" -j ACCEPT\n'
        '-A FORWARD -m comment --comment "-A FORWARD -j POSTMASTER-SMTP-FWD" -j ACCEPT\n'
        '-A OUTPUT -m comment --comment "größe 日本" -j ACCEPT\n'
    ),
    "chains with like names": _nat(
        "-A PREROUTING -j POSTMASTER-SMTP-DNAT2\n-A POSTMASTER-SMTP-DNAT2 -p tcp --dport 25 -j POSTMASTER\n"
        "-A POSTMASTER -j RETURN\n",
        ":POSTMASTER - [0:0]\n:POSTMASTER-SMTP-DNAT2 - [0:0]\n",
    ),
    "goto and nested chains": _filter(
        "-A INPUT -g one\n-A one -j two\n-A two -j three\n-A three -p icmp -j RETURN\n-A three -j DROP\n",
        chains=":one - [0:0]\n:two - [0:0]\n:three - [0:0]\n:unused - [0:0]\n",
    ),
    "limits": _filter(
        "-A INPUT -p tcp --dport 22 -m recent --set --name SSH\n"
        "-A INPUT -p tcp --dport 22 -m recent --update --seconds 60 --hitcount 4 --name SSH -j DROP\n"
        "-A INPUT -p tcp --syn -m limit --limit 5/sec --limit-burst 20 -j ACCEPT\n"
        "-A INPUT -p tcp --dport 25 -m connlimit --connlimit-above 10 -j REJECT\n"
        "-A INPUT -p tcp --dport 443 -m hashlimit --hashlimit-above 50/sec --hashlimit-mode srcip --hashlimit-name web -j DROP\n"
    ),
    "logs": _filter(
        '-A INPUT -m limit --limit 3/min -j LOG --log-prefix "[drop] \\"in\\" " --log-level 7\n'
        "-A FORWARD -j NFLOG --nflog-group 5 --nflog-prefix fwd\n"
    ),
    "ranges and negations": _filter(
        "-A INPUT ! -s 192.0.2.0/24 -p tcp --dport 25 -j DROP\n-A INPUT -m iprange --src-range 192.0.2.1-192.0.2.9 -j ACCEPT\n"
        "-A OUTPUT ! -o lo -p tcp --dport 25 -m owner --uid-owner 0 -j ACCEPT\n-A OUTPUT -p tcp --dport 25 -j REJECT\n"
        "-A INPUT -m mac --mac-source 00:11:22:33:44:55 -j ACCEPT\n-A INPUT -m addrtype --dst-type BROADCAST -j DROP\n"
    ),
    "marks and mangling": (
        "*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
        ":POSTROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 25 -j MARK --set-mark 25\n"
        "-A PREROUTING -j CONNMARK --restore-mark\n-A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu\n"
        "-A OUTPUT -p tcp --dport 25 -j DSCP --set-dscp 8\nCOMMIT\n"
    ),
    "not tracked": (
        "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p udp --dport 53 -j CT --notrack\n"
        "-A OUTPUT -p udp --sport 53 -j CT --notrack\nCOMMIT\n"
    ),
    "times and strings": _filter(
        "-A FORWARD -m time --timestart 08:00 --timestop 18:00 --weekdays Mon,Tue -j ACCEPT\n"
        '-A FORWARD -p tcp --dport 80 -m string --string "GET /x y" --algo bm -j DROP\n'
        "-A FORWARD -m statistic --mode random --probability 0.5 -j RETURN\n-A INPUT -m ttl --ttl-lt 5 -j DROP\n"
    ),
    "balanced": _nat(
        "-A PREROUTING -p tcp --dport 25 -m statistic --mode nth --every 2 --packet 0 -j DNAT --to 10.1.0.102-10.1.0.103\n"
        "-A POSTROUTING -j MASQUERADE --random\n-A PREROUTING -d 203.0.113.5 -j NETMAP --to 10.9.0.1\n"
    ),
    "Docker's chains alone": _filter(
        "-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -i eth0 -s 192.0.2.66 -j DROP\n-A DOCKER-USER -j RETURN\n",
        ("ACCEPT", "DROP", "ACCEPT"),
        ":DOCKER-USER - [0:0]\n",
    ),
    "many networks": _filter("".join(f"-A INPUT -s 10.7.{n}.0/24 -j DROP\n" for n in range(200))),
}
BY_HAND_6 = {
    "the same for IPv6": _filter(
        "-A INPUT -p ipv6-icmp -j ACCEPT\n-A INPUT -m rt --rt-type 0 -j DROP\n-A FORWARD -d fd00:1::102 -p tcp --dport 25 -j ACCEPT\n",
        ("DROP", "DROP", "ACCEPT"),
    )
    + _nat(
        "-A PREROUTING -s 2001:db8:1::/64 -d 2001:db8:5::5 -p tcp --dport 25 -j DNAT --to [fd00:1::102]:25\n"
        "-A POSTROUTING -s fd00:1::/64 -j MASQUERADE\n"
    ),
}
# Tables of nftables beside which ours has to live.
NATIVE = {
    "Debian's example": (
        "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter;\n\t}\n"
        "\tchain forward {\n\t\ttype filter hook forward priority filter;\n\t}\n}\n"
    ),
    "a router": (
        "table inet filter {\n\tset trusted {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = { 192.0.2.0/24 }\n\t}\n"
        "\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n"
        '\t\tct state established,related accept comment "chain incoming {"\n\t\tct status dnat accept\n\t}\n}\n'
        "table ip nat4 {\n\tchain pre {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n"
        "\t\tip daddr 203.0.113.6 tcp dport { 25, 465 } dnat to 10.1.0.110\n\t}\n"
        "\tchain post {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\t\tmasquerade\n\t}\n}\n"
    ),
}


def _files(suffix: str) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob(f"*{suffix}"))}


def of_iptables() -> list[tuple[str, int, str]]:
    """Name, version of IP and text of each."""
    found = [(name, 4, text) for name, text in {**BY_HAND, **_files(".v4")}.items()]
    return found + [(name, 6, text) for name, text in {**BY_HAND_6, **_files(".v6")}.items()]


def of_nftables() -> list[tuple[str, str]]:
    """Name and text of each."""
    return [(name, _for_older(text)) for name, text in {**NATIVE, **_files(".nft")}.items()]


def _for_older(text: str) -> str:
    """For the nft of Debian 12: it knows neither the flags with which firewalld of 13 keeps its table, nor this name."""
    return text.replace("\tflags owner,persist\n", "").replace(
        "hook output priority dstnat + 10", "hook output priority -90"
    )
