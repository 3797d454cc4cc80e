"""Measure connection time of a second request on an open connection. Any value above 0 gates."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing

from benchmarks.figures import Figure, report
from smallest_cli.client.service import open_local_service
from smallest_cli.models import VIAS, Opened, SpeechRequest
from smallest_cli.network.dialer import Dialer
from smallest_cli.transports import open_transport


def measure() -> Iterator[Figure]:
    """Yield one figure per transport."""
    with open_local_service() as service:
        for via in VIAS:
            with open_transport(via, service, Dialer(timeout=10)) as transport:
                opened = []
                for text in ("One.", "Two."):
                    with closing(transport.synthesize(SpeechRequest(text, "magnus"))) as events:
                        opened += [event for event in events if isinstance(event, Opened)]
            spent = opened[-1].phases
            reconnect_ns = spent.dns + spent.tcp + spent.tls + spent.upgrade
            details = (
                f"{reconnect_ns:6}   dns {spent.dns} tcp {spent.tcp} tls {spent.tls} "
                f"upgrade {spent.upgrade} ns"
            )
            yield Figure(
                f"connecting again for a second text, {via}",
                reconnect_ns,
                details,
                "0",
                not reconnect_ns,
                bool(reconnect_ns),
            )


def main() -> int:
    """Run the benchmark. Returns 1 if a transport reconnects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    return report(measure(), parser.parse_args().json)


if __name__ == "__main__":
    sys.exit(main())
