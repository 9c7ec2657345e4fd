"""Why a Service does not work, and where its packets go."""
