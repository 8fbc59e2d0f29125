"""`python -m tests.perf.peers.serve_as_kit MODULE:APP HOST PORT`: any ASGI app under uvicorn, with the
protocol classes and settings of a worker of the kit, but without places and admission control."""

import socket
import sys

import uvicorn
from uvicorn.importer import import_from_string

from benchmark.server.process import raise_descriptor_limit
from benchmark.server.workers import worker


def main(name: str, host: str, port: str) -> None:
    raise_descriptor_limit()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(port)))
    configuration = worker.configuration(import_from_string(name))
    uvicorn.Server(configuration).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
