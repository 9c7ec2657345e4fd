"""The frontend: only rules that are needed, each line with its owner."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from clusterip.ingress.carrier import culprits
from clusterip.ingress.certificates import own_certificate
from clusterip.ingress.compile import CONFIG, Config, Listening, compile_plan, name_of
from clusterip.ingress.engine import Engine
from clusterip.ingress.frontend import MAPS, WHOLE
from clusterip.ingress.model import SPECIFIC, Ingress
from clusterip.ingress.plan import Plan
from ingress.harness import folder
from ingress.test_plan import ingress, path, plan_of

CANARY = {"canary": "true", "canary_by_header": "X-C"}
ODD_PATTERN = "(?a:x)"  # Python's regular expressions have it, HAProxy's have not


def compiled(plan: Plan) -> Config:
    return compile_plan(plan, Listening(("127.0.0.1:0",), ()), own_certificate(), {})


async def blamed(plan: Plan) -> set[tuple[str, str]]:
    async with folder() as place:
        config = compiled(plan)
        return set(culprits(config, await Engine(place).refusal(config), CONFIG, *MAPS))


def test_hosts_with_one_backend_are_one_look_up() -> None:
    plan = plan_of(*(ingress(f"i{number}", path(f"h{number}", "/", "web")) for number in range(3)))
    config = compiled(plan)
    assert config.files[WHOLE].decode().splitlines() == [f"{r.host} {name_of(r.backend)}" for r in plan.routes]
    assert b"txn.site" not in config.files[CONFIG]
    assert b"map_reg" not in config.files[CONFIG]
    more = compiled(plan_of(ingress("a", path("h", "/", "web"), path("h", "/x", "x"), path("*.h", "/", "web"))))
    assert not more.files[WHOLE]
    assert b"map_beg" in more.files[CONFIG]


def test_each_line_has_an_owner_or_none() -> None:
    config = compiled(plan_of(ingress("a", path("h", "/", "s"), default="d"), ingress("b", path("g", "/x", "t"))))
    for name, owners in config.owners.items():
        assert len(owners) == config.files[name].count(b"\n"), name


def test_who_is_to_blame_for_a_pattern() -> None:
    """HAProxy says which line it refuses: of a map, or of the configuration."""
    good = ingress("good", path("h", "/", "s"))
    bad = ingress("bad", path("h", f"/{ODD_PATTERN}", "t", SPECIFIC), use_regex="true")
    assert asyncio.run(blamed(plan_of(good, bad))) == {bad.key}
    canary = ingress("canary", path("h", "/", "new"), canary_by_header_pattern=ODD_PATTERN, **CANARY)
    assert asyncio.run(blamed(plan_of(good, canary))) == {canary.key}


def test_hosts_that_are_no_names_are_left_out() -> None:
    """The API refuses them; one that checks less would let them in."""

    def hosting(host: str) -> Ingress:
        return replace(ingress("odd", path(host, "/", "s"), default="s"), created="0")

    good = ingress("good", path("h", "/", "s"))
    for host in ("h s0\nx", "a b", "a/b", "a:80", "x" * 300, "'", "%[src]"):
        plan = plan_of(hosting(host), good)
        assert plan.hosts == ("h",)
        assert [saying.reason for saying in plan.sayings] == ["BadHost"], host
        assert "h" in compiled(plan).files[WHOLE].decode()
