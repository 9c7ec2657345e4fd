"""The lessons as transcripts (see clusterip.cli.transcript)."""
