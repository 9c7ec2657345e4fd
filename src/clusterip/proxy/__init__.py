"""Service -> packets: snapshot, plan, decide, compile, commit."""
