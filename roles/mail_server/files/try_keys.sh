# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
# Arguments: <signer> <algorithm>:<path>... Runs as the signer's user, and names each key that it could not sign with.
signer=$1 status=0
shift
complain() {
    echo "$1"
    status=1
}
for item in "$@"; do
    algorithm=${item%%:*} key=${item#*:}
    if [ ! -r "$key" ]; then
        complain "$key cannot be read by $signer: is it there, and may $(id -un) open it and its directory?"
    elif [ "$algorithm" = ed25519 ]; then
        # rspamd takes base64 of the seed with or without the public half, and no PEM.
        case "$(base64 -d "$key" 2>/dev/null | wc -c)" in
        32 | 64) ;;
        *) complain "$key is no Ed25519 key in base64, the only form that rspamd reads: make one with dkim_key." ;;
        esac
    elif ! openssl rsa -in "$key" -passin pass: -noout >/dev/null 2>&1; then
        complain "$key is no RSA private key in PEM without a password: mend it, or make a new one with dkim_key."
    fi
done
exit $status
