"""References and run configurations."""

from __future__ import annotations

import pytest

from clusterip.node.imagespec import BadReference, ImageConfig, config_from_oci, parse_reference


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.20", "docker.io/library/nginx:1.20"),
        ("library/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("curlimages/curl", "docker.io/curlimages/curl:latest"),
        ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
        ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
        ("nginx@sha256:" + "a" * 64, "docker.io/library/nginx@sha256:" + "a" * 64),
    ],
)
def test_defaults_are_filled_in(text: str, full: str) -> None:
    assert str(parse_reference(text)) == full


@pytest.mark.parametrize(
    "text", ["", "UPPER", "a b", "nginx:", "nginx:bad tag", "a//b", "-x", "nginx@sha256:short", ":v1"]
)
def test_what_no_registry_would_take_is_refused(text: str) -> None:
    with pytest.raises(BadReference, match="invalid reference format"):
        parse_reference(text)


def test_a_configuration_comes_back() -> None:
    config = ImageConfig(("/e",), ("c",), ("A=b",), "u", "/w", "SIGQUIT", ("80/tcp",))
    assert config_from_oci(config.to_oci()) == config
    assert config_from_oci({"config": {"Entrypoint": None, "Cmd": ["sh"]}}) == ImageConfig(cmd=("sh",))
