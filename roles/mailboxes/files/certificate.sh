#!/bin/sh
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Fails with one sentence unless the certificate $1 is valid and belongs to the key $2.
for file in "$1" "$2"; do
    [ -r "$file" ] || {
        echo "$file does not exist or cannot be read: put it there, or name another" >&2
        exit 1
    }
done
certificate=$(openssl x509 -in "$1" -noout -pubkey 2>/dev/null) || {
    echo "$1 holds no certificate in PEM: name the file with the whole chain" >&2
    exit 1
}
key=$(openssl pkey -in "$2" -pubout -passin pass: 2>/dev/null) || {
    echo "$2 holds no private key in PEM without a password: name the key of $1" >&2
    exit 1
}
[ "$certificate" = "$key" ] || {
    echo "$1 does not match the key $2: name the two that were made together" >&2
    exit 1
}
openssl x509 -in "$1" -noout -checkend 0 >/dev/null || {
    echo "$1 has expired: renew it" >&2
    exit 1
}
