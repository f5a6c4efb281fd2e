"""Which packages the system has after the play: brought away, a line for each."""

import subprocess
import time

from live import put

# Each prints name and version with a tab between; only what is fully there counts.
LISTS = (
    ["dpkg-query", "--show", "--showformat", "${db:Status-Status}\t${Package}\t${Version}\n"],
    ["rpm", "--query", "--all", "--queryformat", "installed\t%{NAME}\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\n"],
)


def listed():
    for command in LISTS:
        try:
            said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        fields = (line.split("\t") for line in said.decode("utf-8", "replace").splitlines())
        yield from ("%s\t%s\n" % (name, version) for status, name, version in fields if status == "installed")


def bring_away(url):
    content = "".join(sorted(listed())).encode()
    for attempt in range(4):
        if attempt:
            time.sleep(2)
        try:
            return put(url, content)
        except OSError:
            # An image without its list is worth more than none: whoever asks for the list is told.
            continue
    return None
