"""Errors that the command line prints on one line, with their exit codes."""


class SandboxError(Exception):
    exit_code = 1


class UsageError(SandboxError):
    exit_code = 2


class NotRunning(SandboxError): ...


class BuildFailed(SandboxError): ...


class StartFailed(SandboxError): ...
