"""One module a command; each has DESCRIPTION, add_arguments(parser) and run(args) -> exit code."""
