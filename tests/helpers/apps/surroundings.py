"""An app that shows what its server finds around it."""

import importlib
import os
import sys
from pathlib import Path

from fastapi import FastAPI

app = FastAPI()


@app.get("/variable")
def variable(name: str) -> str | None:
    return os.environ.get(name)


@app.get("/place")
def place() -> dict[str, str]:
    return {"folder": str(Path.cwd()), "python": sys.executable, "prefix": sys.prefix}


@app.get("/module")
def module(name: str) -> str | None:
    return importlib.import_module(name).__file__


@app.get("/file")
def file(path: str) -> str:
    return Path(path).read_text()


@app.get("/write")
def write(path: str, megabytes: int = 0) -> str:
    """Writes a file, and returns why that fails."""
    try:
        with Path(path).open("wb") as output:
            for _ in range(megabytes):
                output.write(bytes(1 << 20))
    except OSError as failure:
        return str(failure.strerror)
    return ""
