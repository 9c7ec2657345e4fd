"""Flags: each is a field that exists, and what is not given says nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import pytest

from clusterip.proxy import flags
from clusterip.proxy.config import KubeProxyConfiguration, parse, to_tree

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


def given(*words: str) -> Mapping[flags.Path, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    flags.add_to(parser)
    return flags.given(parser.parse_args(words))


def read(*words: str) -> KubeProxyConfiguration:
    return parse(HEAD, "the command line", given(*words))


@pytest.mark.parametrize("flag", flags.FLAGS, ids=lambda flag: flag.name)
def test_every_flag_is_a_field(flag: flags.Flag) -> None:
    for path in flag.paths:
        tree = to_tree(KubeProxyConfiguration())
        for name in path:
            assert name in tree
            tree = tree[name]


def test_what_is_not_given_says_nothing() -> None:
    assert given() == {}


def test_booleans_as_go_has_them() -> None:
    assert read("--ipvs-strict-arp").ipvs.strict_arp
    assert not read("--iptables-localhost-nodeports=false").iptables.localhost_node_ports
    with pytest.raises(argparse.ArgumentError, match="neither true nor false"):
        given("--profiling=maybe")


def test_lists_and_pairs() -> None:
    assert read("--nodeport-addresses=10.0.0.0/8, 192.168.0.0/16").node_port_addresses == (
        "10.0.0.0/8",
        "192.168.0.0/16",
    )
    assert read("--feature-gates=AllBeta=true,AllAlpha=false").feature_gates == {"AllBeta": True, "AllAlpha": False}
    assert read("--vmodule=runner=4").logging.vmodule[0].verbosity == 4
    with pytest.raises(argparse.ArgumentError, match="as in runner=4"):
        given("--vmodule=runner")


def test_one_flag_may_be_of_several_modes() -> None:
    found = read("--iptables-sync-period=10s", "--masquerade-all")
    assert (found.iptables.sync_period, found.nftables.sync_period, found.ipvs.sync_period) == (10.0, 10.0, 30.0)
    assert found.iptables.masquerade_all
    assert found.nftables.masquerade_all


def test_a_configuration_is_written_as_the_flags_that_give_it() -> None:
    words = ["--proxy-mode=ipvs", "--vmodule=runner=4,telling=2", "--masquerade-all", "--nodeport-addresses=10.0.0.0/8"]
    written = flags.as_flags(to_tree(read(*words)))
    assert {"proxy-mode=ipvs", "vmodule=runner=4,telling=2", "masquerade-all=true"} < {*written}
    assert read(*(f"--{line}" for line in written if not line.endswith("="))) == read(*words)
