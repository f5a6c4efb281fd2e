"""Fetches pip itself, for a Python that has none: its wheel, checked by digest, from the index that pip would ask.

Arguments: the wheel's name, its SHA-256, and where to put it.
"""

import configparser
import hashlib
import html
import os
import posixpath
import re
import ssl
import sys
import urllib.parse
import urllib.request


def settings():
    """What pip's configuration says, the last word winning (https://pip.pypa.io/en/stable/topics/configuration/)."""
    home = os.path.expanduser("~")
    files = ["/etc/pip.conf", home + "/.pip/pip.conf", home + "/.config/pip/pip.conf", os.environ.get("PIP_CONFIG_FILE", "")]
    config = configparser.RawConfigParser()
    config.read(file for file in files if file and file != os.devnull)
    said = dict(config.items("global")) if config.has_section("global") else {}
    said.update((name, os.environ[key]) for name, key in (("index-url", "PIP_INDEX_URL"), ("cert", "PIP_CERT")) if key in os.environ)
    return said


def main(name, sha256, to):
    said = settings()
    index = said.get("index-url", "https://pypi.org/simple").rstrip("/") + "/pip/"
    trusted = ssl.create_default_context(cafile=said.get("cert"))
    with urllib.request.urlopen(index, timeout=30, context=trusted) as page:
        # By the simple API every release is a link (https://peps.python.org/pep-0503/).
        links = re.findall(r'href=["\']([^"\']+)', page.read().decode())
        addresses = [urllib.parse.urljoin(page.geturl(), html.unescape(link)) for link in links]
    wheels = [it for it in addresses if posixpath.basename(urllib.parse.urlsplit(it).path) == name]
    if not wheels:
        sys.exit("%s is not among what %s has" % (name, index))
    with urllib.request.urlopen(wheels[0], timeout=30, context=trusted) as source:
        content = source.read()
    if hashlib.sha256(content).hexdigest() != sha256:
        sys.exit("%s came from %s with another sha256 than %s" % (name, index, sha256))
    with open(to, "wb") as file:
        file.write(content)


try:
    main(*sys.argv[1:])
except (OSError, ValueError, configparser.Error) as error:
    sys.exit("pip can't be fetched: %s" % error)
