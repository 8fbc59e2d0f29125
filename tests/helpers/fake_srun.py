"""A stand-in for srun: one task per node of --nodelist, all on this machine."""

import os
import signal
import subprocess
import sys
import threading


def forward_input(tasks: list[subprocess.Popen[bytes]]) -> None:
    while chunk := os.read(0, 1 << 16):
        for task in tasks:
            assert task.stdin is not None
            try:
                os.write(task.stdin.fileno(), chunk)
            except OSError:
                continue
    for task in tasks:
        assert task.stdin is not None
        task.stdin.close()


def forward_output(node: str, number: int, task: subprocess.Popen[bytes]) -> None:
    assert task.stdout is not None
    for line in task.stdout:
        os.write(1, line)
    if task.wait():
        os.write(1, f"srun: error: {node}: task {number}: Killed\n".encode())


def main() -> None:
    options = [word for word in sys.argv[1:] if word.startswith("--")]
    command = sys.argv[1 + next(n for n, w in enumerate(sys.argv[1:]) if not w.startswith("--")) :]
    nodes = next(o for o in options if o.startswith("--nodelist=")).partition("=")[2].split(",")
    tasks = []
    for node in nodes:
        variables = {"SLURMD_NODENAME": node, "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "7"}
        task = subprocess.Popen(
            command, env=os.environ | variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        tasks.append(task)
    signal.signal(signal.SIGTERM, lambda *_: [task.terminate() for task in tasks])
    threading.Thread(target=forward_input, args=(tasks,), daemon=True).start()
    readers = [
        threading.Thread(target=forward_output, args=(node, number, task))
        for number, (node, task) in enumerate(zip(nodes, tasks, strict=True))
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()


if __name__ == "__main__":
    main()
