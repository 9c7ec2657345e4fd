"""What a Pod, or a template of one, becomes before it is judged: defaults, quality of service, what updates keep.

Stage: none; pure changes of trees, in place.  In: a Pod or a PodTemplateSpec.  Out: the same tree, completed.
Rules: what admission adds (service account, tokens, tolerations, priority) is not here.
Truth: kube-apiserver's core/v1 defaults and Pod strategy, recorded answers of 1.36.
"""

from __future__ import annotations

from collections.abc import Iterator

from clusterip.api import quantity
from clusterip.api.meta import Tree, copied, metadata_of, spec_of

CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
FILE_MODE = 0o644
TOKEN_SECONDS = 3600
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
VOLUMES_WITH_MODE = ("secret", "configMap", "downwardAPI", "projected")


def all_containers(spec: Tree) -> Iterator[tuple[str, Tree]]:
    """Every container of a spec with its path below the spec."""
    for field in CONTAINER_LISTS:
        for index, container in enumerate(spec.get(field) or ()):
            yield f"{field}[{index}]", container


def is_sidecar(container: Tree) -> bool:
    """An init container that goes on while the others run."""
    return container.get("restartPolicy") == "Always"


# --- defaults --------------------------------------------------------------------------------------------------------


def default_template(template: Tree) -> None:
    """The defaults of a template: those that do not depend on the pod's becoming real."""
    template.setdefault("metadata", {})
    default_spec(template.setdefault("spec", {}))


def default_pod(pod: Tree) -> None:
    spec = pod.setdefault("spec", {})
    default_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        spec["terminationGracePeriodSeconds"] = 1
    for _path, container in all_containers(spec):
        _requests_from_limits(container)
        if spec.get("hostNetwork"):
            _host_ports(container)
    default_status(pod)


def default_spec(spec: Tree) -> None:
    spec["dnsPolicy"] = spec.get("dnsPolicy") or "ClusterFirst"
    spec["restartPolicy"] = spec.get("restartPolicy") or "Always"
    spec["schedulerName"] = spec.get("schedulerName") or "default-scheduler"
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for _path, container in all_containers(spec):
        _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def _default_container(container: Tree) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(container.get("image") or "")
    container["terminationMessagePath"] = container.get("terminationMessagePath") or "/dev/termination-log"
    container["terminationMessagePolicy"] = container.get("terminationMessagePolicy") or "File"
    container.setdefault("resources", {})
    for port in container.get("ports") or ():
        port["protocol"] = port.get("protocol") or "TCP"
    for variable in container.get("env") or ():
        _default_source(variable.get("valueFrom") or {})
    for name in PROBES:
        if container.get(name) is not None:
            _default_probe(container[name])
    for hook in ("postStart", "preStop"):
        _default_action((container.get("lifecycle") or {}).get(hook) or {})


def pull_policy(image: str) -> str:
    """Always for what may change under its name: the tag latest, said or implied."""
    name, digest, _ = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return "Always" if tag == "latest" or (not tag and not digest) else "IfNotPresent"


def _default_source(source: Tree) -> None:
    if source.get("fieldRef") is not None:
        source["fieldRef"]["apiVersion"] = source["fieldRef"].get("apiVersion") or "v1"
    if source.get("fileKeyRef") is not None:
        source["fileKeyRef"].setdefault("optional", False)


def _default_probe(probe: Tree) -> None:
    numbers = (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3))
    for field, number in numbers:
        probe[field] = probe.get(field) or number
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")
    _default_action(probe)


def _default_action(action: Tree) -> None:
    request = action.get("httpGet")
    if request is not None:
        request["path"] = request.get("path") or "/"
        request["scheme"] = request.get("scheme") or "HTTP"


def _default_volume(volume: Tree) -> None:
    if not any(key != "name" for key in volume):
        volume["emptyDir"] = {}
    for kind in VOLUMES_WITH_MODE:
        if volume.get(kind) is not None:
            volume[kind].setdefault("defaultMode", FILE_MODE)
    if volume.get("hostPath") is not None:
        volume["hostPath"].setdefault("type", "")
    if volume.get("image") is not None and not volume["image"].get("pullPolicy"):
        volume["image"]["pullPolicy"] = pull_policy(volume["image"].get("reference") or "")
    _default_items(volume.get("downwardAPI") or {})
    for source in (volume.get("projected") or {}).get("sources") or ():
        _default_items(source.get("downwardAPI") or {})
        if source.get("serviceAccountToken") is not None:
            source["serviceAccountToken"].setdefault("expirationSeconds", TOKEN_SECONDS)


def _default_items(downward: Tree) -> None:
    for item in downward.get("items") or ():
        _default_source(item)


def _requests_from_limits(container: Tree) -> None:
    """Who limits without requesting requests the limit."""
    resources = container.get("resources") or {}
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}


def _host_ports(container: Tree) -> None:
    for port in container.get("ports") or ():
        port["hostPort"] = port.get("hostPort") or port.get("containerPort", 0)


def default_status(pod: Tree) -> None:
    """podIP and podIPs say the same twice, as do hostIP and hostIPs."""
    status = pod.get("status") or {}
    for one, many in (("podIP", "podIPs"), ("hostIP", "hostIPs")):
        first = (status.get(many) or [{}])[0].get("ip")
        if status.get(one) and status[one] != first:
            status[many] = [{"ip": status[one]}]
        elif first and not status.get(one):
            status[one] = first


# --- quality of service ----------------------------------------------------------------------------------------------


def qos_class(spec: Tree) -> str:
    """Guaranteed, Burstable or BestEffort, from the requests and limits of cpu and memory."""
    holders = [spec] if spec.get("resources") else [c for path, c in all_containers(spec) if "ephemeral" not in path]
    requests: dict[str, object] = {}
    limits: dict[str, object] = {}
    guaranteed = True
    for holder in holders:
        resources = holder.get("resources") or {}
        asked, capped = _counted(resources.get("requests")), _counted(resources.get("limits"))
        guaranteed &= set(capped) == {"cpu", "memory"} and all(asked.get(name) == capped[name] for name in capped)
        requests.update(asked)
        limits.update(capped)
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _counted(amounts: Tree | None) -> dict[str, object]:
    found = {name: quantity.amount((amounts or {})[name]) for name in ("cpu", "memory") if name in (amounts or {})}
    return {name: amount for name, amount in found.items() if amount > 0}


# --- strategy --------------------------------------------------------------------------------------------------------


def prepare_create(pod: Tree) -> None:
    pod.setdefault("metadata", {})["generation"] = 1
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec_of(pod))}
    gates = [gate.get("name") for gate in spec_of(pod).get("schedulingGates") or ()]
    if gates:
        text = "Scheduling is blocked due to non-empty scheduling gates"
        condition = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": text}
        pod["status"]["conditions"] = [{**condition, "lastProbeTime": None, "lastTransitionTime": None}]


def prepare_update(new: Tree, old: Tree) -> None:
    if "status" in old:
        new["status"] = copied(old["status"])
    else:
        new.pop("status", None)
    bump_generation(new, old)


def bump_generation(new: Tree, old: Tree) -> None:
    """A new generation when the spec is a new one; whatever the writer says of it."""
    before = metadata_of(old).get("generation") or 0
    changed = new.get("spec") != old.get("spec")
    generation = before + 1 if changed else before
    if generation:
        new["metadata"]["generation"] = generation
    else:
        new["metadata"].pop("generation", None)


def prepare_status(new: Tree, old: Tree) -> None:
    """The status of a pod: owners stay, the class of service stays, nobody is deleted by it."""
    new["spec"] = copied(spec_of(old))
    meta, before = new["metadata"], metadata_of(old)
    for field in ("ownerReferences", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        if field in before:
            meta[field] = copied(before[field])
        else:
            meta.pop(field, None)
    status = new.setdefault("status", {})
    kept = (old.get("status") or {}).get("qosClass")
    if kept and not status.get("qosClass"):
        status["qosClass"] = kept


def graceful_seconds(pod: Tree, asked: int | None) -> int:
    """How long a deletion waits for the pod: not at all when no node has it or it has ended, else as it was asked."""
    spec, status = spec_of(pod), pod.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    seconds = int(spec.get("terminationGracePeriodSeconds") or 0) if asked is None else asked
    return 1 if seconds < 0 else seconds
