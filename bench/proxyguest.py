"""The rows of ipvs and of iptables, in the User Mode Linux guest that this is run in: printed, and written as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from bench.proxy import rows_of, side_by_side

MODES = (("ipvs", ""), ("iptables", "legacy"))


def main(path: str) -> None:
    rows = rows_of(MODES)
    print(side_by_side(rows))
    Path(path).write_text(json.dumps([dataclasses.asdict(row) for row in rows]))


if __name__ == "__main__":
    main(sys.argv[1])
