"""The tests in `inside` are for the guest's kernel: only a guest collects them."""

import os

collect_ignore = [] if "CLUSTERIP_GUEST" in os.environ else ["inside"]
