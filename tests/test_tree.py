"""The tree keeps its own rules: every module says its job and is held by a test; documents name what exists.

A module is held by the test of its name, by a test that imports it, or by one that the table names: those are reached
through their package's front, over the wire or by the real thing.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SOURCE = ROOT / "src" / "clusterip"
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py") if path.name != "__init__.py")

HELD_BY = {
    # validation of a part of a kind, through the kind's own
    "api/test_pod_validation.py": (
        "api/container_validation api/environment_validation api/probe_validation api/resource_validation "
        "api/scheduling_validation api/volume_validation"
    ),
    "api/test_openapi_protobuf.py": "api/protobuf_wire",
    "api/test_embedded.py": "api/schema_walk",
    "api/test_pod_table.py": "api/resources/pods",
    "api/test_crd_validation.py": "api/crd_conversion api/crd_names api/crd_structure api/crd_versions",
    "api/test_allocation.py": "api/families",
    "api/test_openapi.py": "api/openapi_paths",
    "client/test_rest.py": "client/answers",
    "api/test_metallb_config.py": "api/metallb_advertisements api/metallb_peers api/metallb_reading",
    # the API server, over the wire
    "apiserver/test_verbs.py": (
        "apiserver/admission apiserver/app apiserver/bodies apiserver/bootstrap apiserver/deleting "
        "apiserver/objects apiserver/reading apiserver/selecting apiserver/subresources "
        "apiserver/writing"
    ),
    "apiserver/test_repair.py": "apiserver/eventing apiserver/own",
    "apiserver/test_aggregation.py": "apiserver/calling apiserver/delegating",
    "apiserver/test_access.py": "apiserver/authentication apiserver/reviews",
    "apiserver/test_registry.py": "apiserver/discovery apiserver/documents",
    "apiserver/test_generic.py": "apiserver/options",
    "apiserver/test_rbac.py": "apiserver/escalation",
    "apiserver/test_webhooks.py": "apiserver/webhooks_asking apiserver/webhooks_sight",
    "apiserver/test_validatingpolicies.py": (
        "api/cel_authorizer api/cel_policies apiserver/policyexpressions apiserver/policymatching"
    ),
    # reconcilers, through the controllers that share them
    "controllers/test_endpointslice.py": "controllers/podendpoints",
    "controllers/test_harness.py": "controllers/committing",
    "controllers/test_deployment.py": "controllers/deployment_status",
    "controllers/test_job.py": "controllers/job_pods controllers/job_status",
    "controllers/test_statefulset.py": "controllers/statefulset_claims controllers/statefulset_revisions",
    "controllers/test_graph.py": "controllers/namespace controllers/serviceaccount",
    "controllers/test_replicaset.py": "controllers/keys",
    # the policy agent
    "policy/test_compile.py": "policy/model policy/table",
    "packets/test_policy.py": "policy/metrics policy/process",
    # against the true API server
    "loadbalancer/test_process.py": (
        "client/metallb client/metallb_state loadbalancer/certificate loadbalancer/controller loadbalancer/memberlist "
        "loadbalancer/metrics loadbalancer/reviews loadbalancer/server"
    ),
    "ingress/test_process.py": "ingress/carrier ingress/metrics ingress/runtime ingress/sections",
    "loadbalancer/test_decide.py": "loadbalancer/allocate loadbalancer/space",
    "speaker/test_process.py": "speaker/announcer speaker/gossip speaker/bgp",
    "speaker/test_bgp_link.py": "speaker/bgp_metrics kernel/tcp_options",
    "speaker/test_bfd.py": "kernel/bfd_sockets",
    # commands, by name
    "test_main.py": (
        "cli/apiserver cli/controllers cli/down cli/ingress cli/kubeconfig cli/kubectl cli/loadbalancer cli/node "
        "cli/speaker cli/status cli/up main"
    ),
    "cli/test_backup.py": "cli/restore cli/stores",
    "cli/test_doctor.py": "explain/gather explain/visit",
    # the real kernel, real containers, a real cluster
    "kernel/test_link.py": "kernel/rtnetlink",
    "kernel/test_zygote.py": "cluster/zygote",
    "proxy/test_nftables.py": "proxy/backends/nftables_service",
    "cluster/test_plans.py": "cluster/addon_files",
    "node/test_environment.py": "node/downward",
    "node/test_hostports.py": "kernel/nft_script",
    "node/test_streams.py": "node/attach node/commands node/execute",
    "transport/test_http.py": "transport/answers transport/request",
    "cluster/test_whole.py": (
        "cluster/launch cluster/report cluster/start cluster/stop cluster/supervisor "
        "node/agent node/binds node/forking node/ground node/keeper node/launch node/order node/prober node/publish "
        "node/registration node/sources "
        "node/settings node/stop node/traces node/worker"
    ),
}


def imported() -> set[str]:
    """Every module that a test imports."""
    found = set()
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
    return found


def test_every_module_is_held_by_a_test() -> None:
    listed = {name for names in HELD_BY.values() for name in names.split()}
    known = imported()
    dotted = {path: "clusterip." + ".".join(path.with_suffix("").parts) for path in MODULES}
    twins = {path for path in MODULES if (TESTS / path.parent / f"test_{path.name}").exists()}
    held = twins | {path for path in MODULES if dotted[path] in known}
    names = {str(path.with_suffix("")) for path in MODULES}
    assert {str(path.with_suffix("")) for path in MODULES if path not in held} - listed == set()
    assert listed - names == set()
    assert [name for name in HELD_BY if not (TESTS / name).exists()] == []


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_every_module_says_its_job(path: Path) -> None:
    first = (ast.get_docstring(ast.parse((SOURCE / path).read_text())) or "").split("\n")[0]
    assert first.endswith((".", ",", ":", ";")), first


def test_documents_name_files_that_exist() -> None:
    named = {
        name
        for document in (*ROOT.glob("docs/*.md"), ROOT / "README.md")
        for name in re.findall(
            r"`((?:src|tests|docs|examples|api|cli|controllers|proxy|node)/[\w./]+)`", document.read_text()
        )
    }
    assert {name for name in named if not (ROOT / name).exists() and not (SOURCE / name).exists()} == set()


def test_kernel_notes_name_tests_that_exist() -> None:
    for file, name in re.findall(r"`(tests/[\w/]+\.py)` (\w+)", (ROOT / "docs" / "kernel-notes.md").read_text()):
        assert name in (ROOT / file).read_text(), (file, name)
