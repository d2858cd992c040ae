"""The contract of lib/task.mjs for the clients written in Python: arguments, one line of JSON, exit code, HTTP.

SIGTERM ends a client before its time; each waits in its own way, so each listens for it itself.
"""

import argparse
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# Larger: a client that cannot connect holds the tests up for longer; smaller: a busy machine fails them.
CONNECT_SECONDS = 30


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["publish", "watch"])
    parser.add_argument("url")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--token", default="")
    parser.add_argument("--codec", default="")
    parser.add_argument("--simulcast", action="store_true")
    return parser.parse_args()


class Report:
    """What happened; `finish` prints it and ends the process."""

    def __init__(self, stack, role):
        self.started = time.monotonic()
        self.values = {
            "stack": stack,
            "role": role,
            "connected": False,
            "connect_ms": None,
            "audio": {"packets": 0},
            "video": {"packets": 0, "frames": 0, "keyframes": 0, "codec": None, "width": None},
            "errors": [],
        }
        self.audio = self.values["audio"]
        self.video = self.values["video"]

    def connected(self):
        if not self.values["connected"]:
            self.values["connected"] = True
            self.values["connect_ms"] = round((time.monotonic() - self.started) * 1000)

    def error(self, error):
        self.values["errors"].append(str(error) or repr(error))

    def finish(self):
        flowed = self.video["packets"] + self.video["frames"] + self.audio["packets"] > 0
        print(json.dumps(self.values), flush=True)
        sys.exit(0 if self.values["connected"] and flowed and not self.values["errors"] else 1)


def post(task, offer):
    """Posts the offer; returns the answer and the session's URL."""
    response, body = request(task, "POST", task.url, offer)
    return body, urllib.parse.urljoin(response.url, response.headers["Location"])


def delete(task, session):
    """After the connection was closed, as OBS does, which takes anything but 200 for a failure."""
    request(task, "DELETE", session)


def wait_until_gone(session):
    """Returns when the server has noticed that the connection was closed."""
    for _ in range(100):
        try:
            urllib.request.urlopen(session, timeout=10).close()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return
            raise
        time.sleep(0.05)
    raise RuntimeError("the server did not notice that the connection was closed")


def request(task, method, url, body=None):
    headers = {"Content-Type": "application/sdp"} if body else {}
    if task.token:
        headers["Authorization"] = "Bearer " + task.token
    data = body.encode() if body else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=10) as response:
            text = response.read().decode()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{method} {url}: {error.code} {error.read().decode()}") from None
    expected = 201 if method == "POST" else 200
    if response.status != expected:
        raise RuntimeError(f"{method} {url}: {response.status}, expected {expected}")
    return response, text
