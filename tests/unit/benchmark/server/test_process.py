"""Settings that a process applies to itself; each test does it in a process of its own."""

import subprocess
import sys

PAGES_OF_A_BLOCK = """
import resource, sys
from benchmark.server.process import keep_freed_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(12_000_000) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    keep_freed_memory()
page_faults()
print(page_faults())
"""


def faults_of_second_use(how: str) -> int:
    command = [sys.executable, "-c", PAGES_OF_A_BLOCK, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_large_block_is_used_again_without_page_faults() -> None:
    pages = 4 * 12_000_000 // 4096
    assert faults_of_second_use("keep") < pages / 10
    assert faults_of_second_use("leave") > pages / 4
