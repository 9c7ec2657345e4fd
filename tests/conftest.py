"""What all tests share: how Hypothesis searches.

A machine that also runs a cluster is slow at times, so nothing is judged by the clock. In CI the search is the same
each time; everywhere else it looks at new cases with every run.
"""

import os

from hypothesis import HealthCheck, settings

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # else gRPC (the etcd client) acts in every child that a test forks
os.environ.setdefault("CLUSTERIP_RESOLVER", "none")  # no test asks a server of the world
settings.register_profile("clusterip", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("clusterip"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "clusterip")
