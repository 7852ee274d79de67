#!/bin/sh
# Who is here and who leads, again whenever that changes: curl and sed.
#   confab.sh http://127.0.0.1:2780
page=${1:-http://127.0.0.1:2780}
while :; do
    curl --silent --show-error --fail --no-buffer "$page/v1/confab?watch" |
        sed -n -u 's/^data: .*"leader":"\([^"]*\)".*"members":\[\([^]]*\)\].*/\1 leads \2/p'
    echo "lost; trying again" >&2
    sleep 1
done
