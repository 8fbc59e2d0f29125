"""The user class under Locust's own runner."""

import subprocess
import sys


def test_locust_counts_one_user_per_session_and_stops_users() -> None:
    program = """
from locust.env import Environment
from locustfiles.grid.user import SessionUser
runner = Environment(user_classes=[SessionUser], host="x").create_local_runner()
for change, count in ((runner.spawn_users, 300), (runner.stop_users, 290), (runner.spawn_users, 5)):
    change({"SessionUser": count})
    print(runner.user_count, runner.user_classes_count["SessionUser"])
runner.stop()
print(runner.user_count)
"""
    # Locust patches the process that imports it, so it runs in one of its own.
    argv = [sys.executable, "-P", "-c", program]
    result = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == ["300", "300", "10", "10", "15", "15", "0"]
