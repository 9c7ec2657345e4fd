"""What the controllers read of what makes pods, and of their budgets, as small frozen structs.

Stage: edge.  In: trees from the informers.  Out: frozen values.
Rules: as in model.py.
Truth: k8s.io/api types of apps/v1, batch/v1, policy/v1; core/v1 ReplicationController.
"""

from __future__ import annotations

import msgspec
from msgspec import field

from clusterip.api.meta import Tree
from clusterip.controllers.model import Meta


class ReplicaSetSpec(msgspec.Struct, frozen=True, rename="camel"):
    selector: Tree = {}
    template: Tree = {}
    replicas: int = 1
    min_ready_seconds: int = 0


class ReplicaSet(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: Tree = {}


class ReplicationControllerSpec(msgspec.Struct, frozen=True, rename="camel"):
    labels: dict[str, str] = field(default={}, name="selector")
    template: Tree = {}
    replicas: int = 1
    min_ready_seconds: int = 0

    @property
    def selector(self) -> Tree:
        """Its labels, as all other kinds write them."""
        return {"matchLabels": self.labels} if self.labels else {"matchLabels": {"": ""}}


class ReplicationController(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta
    spec: ReplicationControllerSpec = ReplicationControllerSpec()
    status: Tree = {}


class Strategy(msgspec.Struct, frozen=True, rename="camel"):
    type: str = "RollingUpdate"
    rolling_update: Tree | None = None


class DeploymentSpec(msgspec.Struct, frozen=True, rename="camel"):
    selector: Tree = {}
    template: Tree = {}
    replicas: int = 1
    min_ready_seconds: int = 0
    strategy: Strategy = Strategy()
    revision_history_limit: int | None = 10
    progress_deadline_seconds: int | None = 600
    paused: bool = False


class Deployment(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta
    spec: DeploymentSpec = DeploymentSpec()
    status: Tree = {}


class ControllerRevision(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta
    revision: int = 0
    data: Tree = {}


class DaemonSetSpec(msgspec.Struct, frozen=True, rename="camel"):
    selector: Tree = {}
    template: Tree = {}
    min_ready_seconds: int = 0
    update_strategy: Strategy = Strategy()
    revision_history_limit: int = 10


class DaemonSet(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta
    spec: DaemonSetSpec = DaemonSetSpec()
    status: Tree = {}


class StatefulSetSpec(msgspec.Struct, frozen=True, rename="camel"):
    selector: Tree = {}
    template: Tree = {}
    replicas: int = 1
    min_ready_seconds: int = 0
    service_name: str = ""
    pod_management_policy: str = "OrderedReady"
    update_strategy: Strategy = Strategy()
    revision_history_limit: int = 10
    volume_claim_templates: tuple[Tree, ...] = ()
    persistent_volume_claim_retention_policy: dict[str, str] = {}
    ordinals: dict[str, int] = {}


class StatefulSet(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta
    spec: StatefulSetSpec = StatefulSetSpec()
    status: Tree = {}


class JobSpec(msgspec.Struct, frozen=True, rename="camel"):
    selector: Tree = {}
    template: Tree = {}
    parallelism: int = 1
    completions: int | None = None
    completion_mode: str = "NonIndexed"
    backoff_limit: int = 6
    active_deadline_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    suspend: bool = False
    backoff_limit_per_index: int | None = None
    max_failed_indexes: int | None = None
    pod_failure_policy: Tree | None = None
    success_policy: Tree | None = None
    pod_replacement_policy: str = "TerminatingOrFailed"
    managed_by: str | None = None


class Job(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta
    spec: JobSpec = JobSpec()
    status: Tree = {}


class CronJobSpec(msgspec.Struct, frozen=True, rename="camel"):
    schedule: str = ""
    time_zone: str | None = None
    concurrency_policy: str = "Allow"
    starting_deadline_seconds: int | None = None
    suspend: bool = False
    job_template: Tree = {}
    successful_jobs_history_limit: int | None = 3
    failed_jobs_history_limit: int | None = 1


class CronJobStatus(msgspec.Struct, frozen=True, rename="camel"):
    active: tuple[Tree, ...] = ()
    last_schedule_time: str | None = None
    last_successful_time: str | None = None


class CronJob(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta
    spec: CronJobSpec = CronJobSpec()
    status: CronJobStatus = CronJobStatus()


class BudgetSpec(msgspec.Struct, frozen=True, rename="camel"):
    selector: Tree | None = None
    min_available: int | str | None = None
    max_unavailable: int | str | None = None


class Budget(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta
    spec: BudgetSpec = BudgetSpec()
    status: Tree = {}
