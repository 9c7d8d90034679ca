# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
#
# The user of the service, and by choice a secret that nobody has given.
#   sh prepare.sh <file of the secret> <user> [make]
set -eu
umask 077
printf 'u %s - "postmaster.mail restricted list" /nonexistent /usr/sbin/nologin\n' "$2" | systemd-sysusers -
install -d -m 0755 "$(dirname "$1")"
[ "${3:-}" = make ] || exit 0
if [ ! -s "$1" ]; then
  openssl rand -hex 32 > "$1.new"
  mv "$1.new" "$1"
fi
chown "$2:$2" "$1"
chmod 0600 "$1"
