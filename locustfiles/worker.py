"""`python -m locustfiles.worker`: one load worker of a grid."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import gevent
from locust.env import Environment
from locust.log import setup_logging
from locust.rpc import Message

from locustfiles.messages import CELL, HELLO, ROWS
from locustfiles.users import SessionUser, Share

FLUSH_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="locustfiles.worker")
    parser.add_argument("--name", required=True)
    parser.add_argument("--master-host", required=True)
    parser.add_argument("--master-port", type=int, required=True)
    options = parser.parse_args(arguments)
    setup_logging("WARNING")
    environment = Environment(user_classes=[SessionUser], host="openenv")
    runner = environment.create_worker_runner(options.master_host, options.master_port)
    shares = SessionUser.shares

    def begin(msg: Message, **_: Any) -> None:
        flush()
        shares.give(Share(msg.data, options.name))

    def flush() -> None:
        rows, shares.rows = shares.rows, []
        runner.send_message(ROWS, {"cell": shares.cell, "rows": rows, "open": shares.open})

    def flush_for_ever() -> None:
        while True:
            gevent.sleep(FLUSH_SECONDS)
            flush()

    runner.register_message(CELL, begin)
    runner.send_message(HELLO, {"name": options.name})
    gevent.spawn(flush_for_ever)
    runner.greenlet.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
