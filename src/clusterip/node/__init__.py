"""Pod -> sandbox, containers, probes, logs, streams: the kubelet's job and its HTTP API."""
