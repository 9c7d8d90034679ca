# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
#
# Has a database for each USER:DATABASE, and its owner; says what it makes ("make") or would make ("look").
set -eu
mode=$1
shift
for pair; do
    user=${pair%%:*} database=${pair#*:}
    if [ -z "$(psql -AtXc "SELECT 1 FROM pg_roles WHERE rolname = '$user'")" ]; then
        echo "role $user"
        [ "$mode" = look ] || createuser --no-superuser --no-createdb --no-createrole "$user"
    fi
    if [ -z "$(psql -AtXc "SELECT 1 FROM pg_database WHERE datname = '$database'")" ]; then
        echo "database $database"
        [ "$mode" = look ] || createdb --owner="$user" --encoding=UTF8 --locale=C.UTF-8 --template=template0 "$database"
    fi
done
