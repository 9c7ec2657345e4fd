#!/bin/bash
# A BGP router for the nodes 192.168.4.101-103: FRR with files of its own.  It ends with its input.
#   clusterip shell -- bash $PWD/examples/metallb/router.sh
set -e
at=$(mktemp -d)
trap 'kill $(jobs -p); wait; rm -rf "$at"' EXIT
echo "log stdout" | tee "$at/zebra.conf" "$at/bfdd.conf" >"$at/bgpd.conf"
{
	printf '%s\n' "router bgp 64501" " bgp router-id 192.168.4.1" " no bgp ebgp-requires-policy" \
		" bgp bestpath as-path multipath-relax"
	for node in 192.168.4.{101..103}; do
		printf ' neighbor %s %s\n' "$node" "remote-as 64500" "$node" passive "$node" bfd
	done
} >>"$at/bgpd.conf"
chown -R frr:frr "$at"
start() {
	/usr/lib/frr/"$1" -f "$at/$1.conf" -i "$at/$1.pid" -A 127.0.0.1 -P 0 --vty_socket "$at" -z "$at/zserv.api" \
		--log stdout "${@:2}" </dev/null &
}
there() { until [ -e "$1" ]; do sleep 0.05; done; }
start zebra
there "$at/zserv.api"
start bfdd --bfdctl "$at/bfdd.sock"
there "$at/bfdd.sock"
start bgpd
cat >/dev/null
