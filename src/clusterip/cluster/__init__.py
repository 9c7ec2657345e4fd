"""A whole cluster on one machine: LAN, nodes, zygote, supervisor, up and down."""
