"""The play's output on its way to the one who waits for it: numbered chunks in S3, each within half a second of being printed.

The stream is lines, each framed: milliseconds since the play began, a space, a kind, and the text. The kinds: `|` a line of
output; `:` a piece of a line that goes on; `@` an event, as JSON. A chunk may end within a line.
"""

import http.client
import json
import threading
import time
import urllib.request

# A line without end must not fill anybody's memory.
LONGEST = 16 * 1024
CHUNK = 1 << 19
BEAT = 0.4

# By which the callback marks what is an event, on the play's own output: so events and lines keep their order.
EVENT = b"\x1e"


# What a connection, or an answer that ends too early, comes to.
BROKEN = (OSError, ValueError, http.client.HTTPException)


def put(url, content):
    # urllib would call it a form.
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, data=content, method="PUT", headers=headers)
    # Short: a connection that stalls is better begun anew.
    urllib.request.urlopen(request, timeout=20).close()


class Addresses:
    """Where the next chunk goes. They come in batches: whoever waits signs more while these are used up."""

    def __init__(self, batch):
        self.batch = batch

    def take(self, ended):
        """The next one, or None: where nobody signs any more the play goes on all the same, but its end doesn't wait long."""
        until = None
        while not self.batch["put"]:
            if until is None and ended.is_set():
                until = time.monotonic() + 60
            try:
                with urllib.request.urlopen(self.batch["more"], timeout=20) as answer:
                    self.batch = json.load(answer)
            except BROKEN:
                if until is not None and time.monotonic() > until:
                    return None
                time.sleep(1)
        return self.batch["put"].pop(0)


class Stream:
    """Keeps the stream in a file and ships it from there, so that a slow network holds up no play and fills no memory."""

    def __init__(self, path, batch):
        self.began = time.monotonic()
        self.file = open(path, "wb", buffering=0)
        self.source = open(path, "rb")
        self.addresses = Addresses(batch)
        self.written = threading.Event()
        self.ended = threading.Event()
        self.trouble = None
        self.shipping = threading.Thread(target=self.ship, daemon=True)
        self.shipping.start()

    def read(self, pipe, hide, see):
        """Takes the output to its end. `hide` takes out of a line what nobody may see; `see` is given each whole line."""
        while line := pipe.readline(LONGEST):
            if line.startswith(EVENT):
                self.write(b"@", hide(line[1:]))
            elif line.endswith(b"\n"):
                line = hide(line)
                self.write(b"|", line)
                see(line)
            else:
                self.write(b":", hide(line) + b"\n")

    def write(self, kind, line):
        self.file.write(b"%d %s%s" % ((time.monotonic() - self.began) * 1000, kind, line))
        self.written.set()

    def ship(self):
        while True:
            self.written.wait()
            self.written.clear()
            last = self.ended.is_set()
            while chunk := self.source.read(CHUNK):
                if not self.ship_chunk(chunk):
                    return
            if last:
                return
            self.ended.wait(BEAT)

    def ship_chunk(self, chunk):
        address = self.addresses.take(self.ended)
        if address is None:
            self.trouble = "nobody asks for the log any more"
            return False
        for attempt in range(8):
            if attempt:
                time.sleep(2)
            try:
                put(address, chunk)
                return True
            except BROKEN as error:
                self.trouble = "the log could not be brought away: %s" % error
        return False

    def end(self):
        """Ships the rest; says what went wrong, if anything did."""
        self.ended.set()
        self.written.set()
        self.shipping.join()
        return self.trouble
