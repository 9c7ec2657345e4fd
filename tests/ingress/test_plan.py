"""What Ingresses mean: tables; and HAProxy means the same, on random ones."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterip.ingress.annotations import PREFIX as NGINX
from clusterip.ingress.annotations import Settings, read
from clusterip.ingress.certificates import own_certificate
from clusterip.ingress.compile import CONFIG, compile_plan, name_of
from clusterip.ingress.engine import Engine
from clusterip.ingress.model import EXACT, PREFIX, SPECIFIC, Ingress, IngressClass, Path, Target, read_ingress
from clusterip.ingress.plan import Picture, Plan, Request, Served, decide, is_ours, make_plan, site
from clusterip.ingress.slots import Slots
from ingress.harness import folder, get, places, pods


def ingress(name: str, *paths: Path, created: str = "", default: str = "", **notes: str) -> Ingress:
    return Ingress(
        namespace="ns",
        name=name,
        created=created or name,
        class_name="nginx",
        annotations=tuple((NGINX + key.replace("_", "-"), value) for key, value in notes.items()),
        default=Target(default, 80) if default else None,
        hosts=tuple(dict.fromkeys(path.host for path in paths)),
        paths=paths,
    )


def path(host: str, text: str, service: str, kind: str = PREFIX) -> Path:
    return Path(host, text, kind, Target(service, 80))


def plan_of(*ingresses: Ingress) -> Plan:
    return make_plan(Picture({each.key: each for each in ingresses}), Served())


def goes(plan: Plan, host: str, text: str, **more: dict[str, str]) -> str | None:
    found = decide(plan, Request(host, text, **more))  # type: ignore[arg-type]
    return found.target.service if found else None


@pytest.mark.parametrize(
    ("kind", "text", "asked", "matches"),
    [
        (PREFIX, "/", "/any/path", True),
        (EXACT, "/foo", "/foo", True),
        (EXACT, "/foo", "/bar", False),
        (EXACT, "/foo", "/foo/", False),
        (EXACT, "/foo/", "/foo", False),
        (EXACT, "/foo", "/FOO", False),
        (PREFIX, "/foo", "/foo", True),
        (PREFIX, "/foo", "/foo/", True),
        (PREFIX, "/foo/", "/foo", True),
        (PREFIX, "/foo/", "/foo/", True),
        (PREFIX, "/aaa/bb", "/aaa/bbb", False),
        (PREFIX, "/aaa/bbb", "/aaa/bbb", True),
        (PREFIX, "/aaa/bbb/", "/aaa/bbb", True),
        (PREFIX, "/aaa/bbb", "/aaa/bbb/", True),
        (PREFIX, "/aaa/bbb", "/aaa/bbb/ccc", True),
        (PREFIX, "/aaa/bbb", "/aaa/bbbxyz", False),
        (SPECIFIC, "/aaa", "/aaabbb", True),
    ],
)
def test_paths_match_as_the_api_says(kind: str, text: str, asked: str, matches: bool) -> None:
    assert (goes(plan_of(ingress("a", path("h", text, "s", kind))), "h", asked) == "s") is matches


def test_precedence() -> None:
    plan = plan_of(
        ingress("a", path("h", "/", "root"), path("h", "/aaa", "short"), path("h", "/aaa/bbb", "long")),
        ingress("b", path("h", "/aaa", "exact", EXACT), path("*.h", "/", "wild"), path("x.h", "/x", "x")),
        ingress("c", path("h", "/aaa", "later")),
        ingress("d", default="last"),
        ingress("e", path("own", "/own", "own"), default="own-default"),
    )
    table = {
        ("h", "/aaa"): "exact",
        ("h", "/aaa/ccc"): "short",
        ("h", "/aaa/bbb/c"): "long",
        ("h", "/ccc"): "root",
        ("y.h", "/"): "wild",
        ("z.y.h", "/"): "last",
        ("x.h", "/x"): "x",
        ("x.h", "/"): "last",  # an exact host keeps its requests from the wildcard's
        ("nobody", "/"): "last",
        ("own", "/"): "own-default",
    }
    assert {asked: goes(plan, *asked) for asked in table} == table
    assert [(each.ingress[1], each.reason) for each in plan.sayings] == [("c", "Conflict")]


def test_the_older_has_a_path_whatever_its_name() -> None:
    young, old = ingress("a", path("h", "/", "young"), created="2"), ingress("b", path("h", "/", "old"), created="1")
    assert goes(plan_of(young, old), "h", "/") == "old"


def test_canaries() -> None:
    notes = {"canary": "true", "canary_by_header": "X-C", "canary_by_cookie": "c", "canary_weight": "30"}
    plan = plan_of(ingress("a", path("h", "/", "main")), ingress("b", path("h", "/", "new"), **notes))
    assert goes(plan, "h", "/", headers={"x-c": "always"}) == "new"
    assert goes(plan, "h", "/", headers={"X-C": "never"}, cookies={"c": "always"}) == "main"
    assert goes(plan, "h", "/", cookies={"c": "always"}) == "new"
    assert [decide(plan, Request("h", "/", roll=roll)).target.service for roll in (0.29, 0.3)] == ["new", "main"]  # type: ignore[union-attr]
    lonely = plan_of(ingress("b", path("h", "/", "new"), **notes))
    assert goes(lonely, "h", "/") is None
    assert lonely.sayings[0].reason == "NoMainIngress"


def test_classes() -> None:
    mine, other = IngressClass("mine", "k8s.io/ingress-nginx", True), IngressClass("other", "else", False)
    classes = {"mine": mine, "other": other}
    trees = {"mine": True, "other": False, "nginx": True, "gone": False}
    for name, ours in trees.items():
        tree = {"metadata": {"name": "a", "namespace": "b"}, "spec": {"ingressClassName": name}}
        assert is_ours(read_ingress(tree), classes, Served()) is ours, name
    unnamed = read_ingress({"metadata": {"name": "a", "namespace": "b"}})
    assert is_ours(unnamed, classes, Served())
    assert not is_ours(unnamed, {"other": other}, Served())
    legacy = {"name": "a", "namespace": "b", "annotations": {"kubernetes.io/ingress.class": "nginx"}}
    assert is_ours(read_ingress({"metadata": legacy}), {}, Served())


def test_annotations_that_are_wrong_leave_the_others() -> None:
    found, wrong = read(
        {
            NGINX + "affinity": "cookie",
            NGINX + "session-cookie-name": "bad name;",
            NGINX + "proxy-connect-timeout": "3",
            NGINX + "rewrite-target": "/a\nserver evil",
            NGINX + "configuration-snippet": "deny all;",
            "other.io/x": "y",
        }
    )
    assert (found.cookie and found.cookie.name, found.connect_ms, found.rewrite) == ("INGRESSCOOKIE", 3000, "")
    assert [each.split(":")[0].removeprefix(NGINX) for each in wrong] == [
        "rewrite-target",
        "session-cookie-name",
        "configuration-snippet",
    ]


@given(st.dictionaries(st.sampled_from(["affinity", "rewrite-target", "proxy-body-size", "cors-max-age"]), st.text()))
def test_no_annotation_raises(notes: dict[str, str]) -> None:
    found, _ = read({NGINX + name: value for name, value in notes.items()})
    assert isinstance(found, Settings)
    assert not re.search(r"[\r\n\0]", repr(found.rewrite))


@given(st.text())
def test_every_host_is_somewhere(asked: str) -> None:
    assert site(("a.b", "*.b"), asked) in ("", "a.b", "*.b")


HOSTS = ("", "a.org", "b.org", "*.org", "*.b.org")
TEXTS = ("/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/A")
REGEXES = ("/a(/|$)(.*)", "/b/[0-9]+", "/x|0/a", "/a?b")
NAMES = ("one", "two", "three")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    made = []
    for number in range(draw(st.integers(1, 5))):
        use_regex = draw(st.booleans()) and draw(st.booleans())
        kinds = (SPECIFIC,) if use_regex else (EXACT, PREFIX, SPECIFIC)
        chosen = st.tuples(
            st.sampled_from(HOSTS),
            st.sampled_from(REGEXES if use_regex else TEXTS),
            st.sampled_from(NAMES),
            st.sampled_from(kinds),
        )
        paths = [path(*each) for each in draw(st.lists(chosen, max_size=5))]
        notes = {"use_regex": "true"} if use_regex else {}
        default = draw(st.sampled_from(("", "", "one")))
        made.append(ingress(f"i{number}", *paths, default=default, **notes))
    return plan_of(*made)


def test_haproxy_decides_as_decide_does() -> None:
    """One HAProxy for each plan, many requests to each."""

    @settings(max_examples=8)
    @given(plans())
    def check(plan: Plan) -> None:
        asyncio.run(compare(plan))

    check()


async def compare(plan: Plan) -> None:
    async with folder() as place, pods(*NAMES) as servers:
        ports = {pod.name: pod.port for pod in servers}
        held: dict[str, Slots] = {
            name_of(each): (("127.0.0.1", ports[each.target.service]),) for each in plan.backends()
        }
        config = compile_plan(plan, places(place), own_certificate(), held)
        engine = Engine(place / "state")
        assert await engine.refusal(config) == ""
        assert len(config.owners[CONFIG]) == config.files[CONFIG].count(b"\n")
        await engine.put(config)
        try:
            for host in ("a.org", "b.org", "c.org", "x.b.org", "y.x.b.org", "org", ".org", "A.ORG:80", "*.org"):
                for text in (*TEXTS, "/a/b/c/d", "/b/12", "/abc", "/z"):
                    answer = await get(place / "http", host, text)
                    assert (answer.pod or None) == goes(plan, host, text), (host, text, plan.routes)
        finally:
            await engine.end(5.0)
