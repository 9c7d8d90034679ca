#!/bin/sh
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Arguments: <address here> <yes where nothing is to be changed>. Standard input: settings for the old server, the password among
# them, which so is on no command line and in no log. Fetches what is not here yet, deletes nothing, and says how many messages came.
umask 077
user=$1 dry=$2
directory=$(mktemp -d /run/mail-import.XXXXXX) || exit 1
trap 'rm -rf "$directory"' EXIT
trap 'exit 1' HUP INT TERM
# All of it in one file: Dovecot 2.4 wants its version first, and not once more.
cat /etc/dovecot/dovecot.conf - >"$directory/import.conf" || exit 1
count() {
    doveadm -f tab mailbox status -t -u "$user" messages '*' | tail -n 1
}
before=$(count) || exit 1
[ "$dry" = yes ] && exit 0
# 2.4 takes the word for a place in the user's own storage, unless it is told the driver.
case $(dovecot --version) in
2.[0-3].*) set -- ;;
*) set -- -p mail_driver=imapc -p mail_path= ;;
esac
doveadm -c "$directory/import.conf" sync -1 -R -u "$user" "$@" imapc: || exit 1
after=$(count) || exit 1
[ "$after" = "$before" ] || echo "$((after - before)) messages came for $user"
