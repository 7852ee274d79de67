#!/usr/bin/env python3
"""Who is here, who leads, and word of it whenever that changes. Nothing but the standard library.

    confab.py http://127.0.0.1:2780      the page's port: any program of this machine
    confab.py /run/crux/crux.sock        the local socket: its owner
"""

import http.client
import json
import socket
import sys
import time

# A fulcrum says something at least every fifteen seconds.
SILENCE = 45


class Local(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("crux", timeout=SILENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(at, path):
    """The answer to one GET; an error tells its code, its cause and the next step."""
    page = at.removeprefix("http://").rstrip("/")
    line = Local(at) if page == at else http.client.HTTPConnection(page, timeout=SILENCE)
    line.request("GET", path)
    answer = line.getresponse()
    if answer.status != 200:
        error = json.load(answer)
        raise SystemExit(f"{error['code']}: {error['cause']}; next: {error['next']}")
    return answer


def get(at, path):
    """A document."""
    return json.load(ask(at, path))


def watch(at, path):
    """The document as it is, and again each time that it reads differently, for ever."""
    pause = 0.1
    while True:
        try:
            data = []
            for line in ask(at, path + "?watch"):
                line = line.decode().rstrip("\r\n")
                if line.startswith("data:"):
                    data.append(line[5:].removeprefix(" "))
                elif not line and data:
                    yield json.loads("\n".join(data))
                    data, pause = [], 0.1
            lost = "the fulcrum goes down"
        except (OSError, http.client.HTTPException) as error:
            lost = error
        print(f"{lost}; trying again", file=sys.stderr, flush=True)
        time.sleep(pause)
        pause = min(pause * 2, 5)


def main():
    at = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:2780"
    now = get(at, "/v1/confab")
    print(f"{now['node']} of bloc {now['bloc']}, in flock {now['flock']}", flush=True)
    for now in watch(at, "/v1/confab"):
        rest = "" if now["stable"] else "; more may come"
        print(f"{now['leader']} leads {', '.join(now['members'])}{rest}", flush=True)


if __name__ == "__main__":
    main()
