"""Holds one session open without sending anything for a while, then steps it.

python tests/helpers/quiet_session.py http://127.0.0.2:8000 360
"""

import json
import sys
import time

import websocket


def main(url: str, seconds: float) -> None:
    session = websocket.create_connection(url.replace("http", "ws", 1) + "/ws", timeout=30)
    session.send('{"type":"reset"}')
    session.recv()
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(left)
    session.send('{"type":"step","data":{"wait_seconds":0.5}}')
    reply = json.loads(session.recv())
    print(
        f"after {seconds:g} s of silence: {reply['type']}, step_count "
        f"{reply['data']['observation']['step_count']}"
    )
    session.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
