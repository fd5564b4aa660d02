#!/bin/sh
# The same from a shell: exits with 0 where two of three orders arrive, and as the failed command otherwise.
set -eu
here=$(dirname "$0")
work=$(mktemp -d)
trap 'kill $sandbox $bridge 2>/dev/null || true; wait; rm -r "$work"' EXIT
sandbox= bridge=

partner-bridge sandbox --eventbridge-port "${SANDBOX_PORT:-9477}" >/dev/null 2>&1 &
sandbox=$!
export PARTNER_BRIDGE_SANDBOX_URL="http://127.0.0.1:${SANDBOX_PORT:-9477}"
partner-bridge sandbox status --timeout 60
eval "$(partner-bridge sandbox env)"
partner-bridge sandbox config "$here/bridge.yaml" --http-port 0 >"$work/sandbox.yaml"

partner-bridge run --config "$work/sandbox.yaml" >"$work/bridge.log" 2>&1 &
bridge=$!
partner-bridge sandbox produce orders --key acme <<'RECORDS'
{"id": 1, "tenant": "acme", "status": "PAID", "updated_at": "2026-11-29T10:00:00Z"}
{"id": 2, "tenant": "acme", "status": "DRAFT", "updated_at": "2026-11-29T10:00:00Z"}
{"id": 3, "tenant": "acme", "status": "PAID", "updated_at": "2026-11-29T10:00:00Z"}
RECORDS

partner-bridge sandbox events --wait 2 --timeout 60 || { cat "$work/bridge.log"; exit 1; }
partner-bridge sandbox events --json | grep -q '"detail-type": "Order PAID"'
