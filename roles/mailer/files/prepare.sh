# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
#
# Users of the stages, and the secrets that nobody has given.
#   sh prepare.sh <folder of secrets> <secret>... -- <user>...
set -eu
umask 077
folder=$1
shift
install -d -m 0755 "$folder"
while [ "$1" != -- ]; do
  if [ ! -s "$folder/$1" ]; then
    openssl rand -hex 32 > "$folder/.$1.new"
    mv "$folder/.$1.new" "$folder/$1"
  fi
  chown root:root "$folder/$1"
  chmod 0600 "$folder/$1"
  shift
done
shift
for user in "$@"; do
  printf 'u %s - "postmaster.mail mailer" /nonexistent /usr/sbin/nologin\n' "$user"
done | systemd-sysusers -
[ ! -s "$folder/redis.password" ] || tr -d '\n' < "$folder/redis.password" | sha256sum | cut -d ' ' -f 1
