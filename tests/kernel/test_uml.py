"""The command line that boots a guest."""

from pathlib import Path

from clusterip.kernel.uml import ALONE, Guest, Vector, command_line


def test_command_line() -> None:
    guest = Guest(
        name="node-1",
        init="/init",
        folder=Path("/state/uml"),
        memory="64M",
        consoles={1: "null,fd:1", 0: "null,fd:2"},
        vectors=(Vector("uplink", "02:00:00:00:00:01"), Vector("pods", "02:00:00:00:00:02")),
        words=("a", "b"),
    )
    assert command_line(guest) == (
        *ALONE,
        "linux.uml",
        "rootfstype=hostfs",
        "ro",
        "mem=64M",
        "umid=node-1",
        "uml_dir=/state/uml",
        "con=null",
        "con0=null,fd:2",
        "con1=null,fd:1",
        "vec0:transport=raw,ifname=uplink,mac=02:00:00:00:00:01,gro=1",
        "vec1:transport=raw,ifname=pods,mac=02:00:00:00:00:02,gro=1",
        "quiet",
        "init=/init",
        "--",
        "a",
        "b",
    )


def test_a_guest_that_may_write_has_no_words_of_its_own() -> None:
    words = command_line(Guest(name="n", init="/init", folder=Path("/f"), writable=True))
    assert "rw" in words
    assert words[-1] == "init=/init"
