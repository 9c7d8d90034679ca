#!/bin/sh
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Has ufw, firewalld, fail2ban, Docker and podman write their rules, and keeps what iptables-save and nft print of them.
# For a Debian container with systemd to throw away, as root, with CAP_SYS_ADMIN and a network namespace of its own:
#
#     apt-get install iptables nftables ufw firewalld fail2ban docker.io     # and docker-cli on 13
#     sh make_rulesets.sh RELEASE FOLDER
set -u
release=$1
out=$2
mkdir -p "$out"

clear_tables() {
    for each in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy; do
        for table in filter nat mangle raw; do
            "$each" -t "$table" -F
            "$each" -t "$table" -X
        done
        for chain in INPUT FORWARD OUTPUT; do "$each" -P "$chain" ACCEPT; done
    done 2>/dev/null
    nft flush ruleset
}

# keep NAME [VARIANT]: what the tools left, in all families
keep() {
    variant=${2:-nft}
    "iptables-$variant-save" | grep -v '^#' >"$out/$1-$release.v4"
    "ip6tables-$variant-save" | grep -v '^#' >"$out/$1-$release.v6"
    clear_tables
}

keep_native() {
    nft -s list ruleset >"$out/$1-$release.nft"
    clear_tables
}

use() {
    update-alternatives --set iptables "/usr/sbin/iptables-$1" >/dev/null
    update-alternatives --set ip6tables "/usr/sbin/ip6tables-$1" >/dev/null
}

fail2ban() {
    cat >/etc/fail2ban/jail.local <<END
[DEFAULT]
backend = polling
banaction = $1
banaction_allports = $2
[sshd]
enabled = true
logpath = /var/log/auth.log
[postfix]
enabled = true
logpath = /var/log/mail.log
[recidive]
enabled = true
END
    touch /var/log/auth.log /var/log/mail.log /var/log/fail2ban.log
    fail2ban-client -x start >/dev/null
    sleep 4
    fail2ban-client set sshd banip 192.0.2.71 192.0.2.72 2001:db8:bad::1 >/dev/null
    fail2ban-client set postfix banip 198.51.100.71 2001:db8:bad::2 >/dev/null
    fail2ban-client set recidive banip 198.51.100.72 >/dev/null
    sleep 2
}

systemctl stop docker docker.socket firewalld
clear_tables
use nft

ufw --force reset >/dev/null
ufw allow 22/tcp >/dev/null
ufw limit 2222/tcp comment 'the "rescue" port' >/dev/null
ufw --force enable >/dev/null
keep ufw-ssh
ufw allow from 192.0.2.0/24 to any port 25 proto tcp >/dev/null
ufw route allow proto tcp from any to 10.1.0.102 port 80 >/dev/null
ufw deny out 25/tcp >/dev/null
ufw logging high >/dev/null
ufw --force disable >/dev/null
ufw --force enable >/dev/null
keep ufw-route
ufw --force disable >/dev/null
clear_tables
use legacy
ufw --force enable >/dev/null
keep ufw-legacy legacy
ufw --force disable >/dev/null
use nft
clear_tables

firewall-offline-cmd --zone=public --add-service=smtp --add-masquerade >/dev/null 2>&1
firewall-offline-cmd --zone=public --add-forward-port=port=8080:proto=tcp:toport=80:toaddr=10.1.0.102 >/dev/null 2>&1
sed -i 's/^FirewallBackend=.*/FirewallBackend=nftables/' /etc/firewalld/firewalld.conf
systemctl restart firewalld
sleep 3
keep_native firewalld
systemctl stop firewalld
clear_tables
sed -i 's/^FirewallBackend=.*/FirewallBackend=iptables/' /etc/firewalld/firewalld.conf
systemctl restart firewalld
sleep 3
keep firewalld-iptables
systemctl stop firewalld
clear_tables

fail2ban iptables-multiport iptables-allports
keep fail2ban
fail2ban-client stop >/dev/null
fail2ban nftables-multiport nftables-allports
keep_native fail2ban
fail2ban-client stop >/dev/null
clear_tables

systemctl start docker
docker network create --subnet 10.77.0.0/24 app >/dev/null
docker network create --internal --subnet 10.78.0.0/24 inside >/dev/null
docker network create --ipv6 --subnet 2001:db8:77::/64 six >/dev/null
tar -C / -c bin lib lib64 usr/bin/sleep usr/lib64 usr/lib/x86_64-linux-gnu 2>/dev/null | docker import - tiny >/dev/null
docker run -d --cgroupns private --name mail --network app -p 25:25 -p 8025:25/tcp tiny /usr/bin/sleep infinity >/dev/null
sleep 2
keep docker
systemctl stop docker docker.socket
clear_tables
ufw --force enable >/dev/null
systemctl start docker
sleep 2
docker start mail >/dev/null
fail2ban iptables-multiport iptables-allports
keep docker-ufw-fail2ban
fail2ban-client stop >/dev/null
docker rm -f mail >/dev/null
systemctl stop docker docker.socket
ufw --force disable >/dev/null
clear_tables
