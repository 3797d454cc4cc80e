"""One way to a connected socket: DNS, TCP, proxy, TLS, deadlines and timings.

Every failure is raised as an error of `smallest_cli.errors`; the transports translate no socket errors.
"""
