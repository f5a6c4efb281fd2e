"""What nobody may see: the passwords of Ansible Vault and the play's secrets, fetched here by name.

They stand in files below /run, which is memory and in no image, and go at the end; in the play's output they are hidden.
"""

import json
import os
import re
import shlex
import shutil
import tempfile

import aws
import live
from bootstrap import fail

HIDDEN = b"***"

NEEDS = "it must be in this account and region, and the builder's instance profile needs %s for it, and kms:Decrypt for a key of your own"
RIGHTS = {"ssm": NEEDS % "ssm:GetParameter", "secret": NEEDS % "secretsmanager:GetSecretValue"}

# Of what is in a JSON object, the names of what nobody may see: a host or a user's name would leave nothing readable.
TELLING = re.compile("pass|pwd|secret|token|key|credential", re.IGNORECASE)

# What is shorter stands in a log by chance, and hiding it would leave nothing readable.
SHORTEST = 4


def named(source):
    if "ssm" in source:
        return "the SSM parameter " + source["ssm"]
    return "the secret " + source["secret"]


def fetch(source, order):
    try:
        if "ssm" in source:
            question = {"Name": source["ssm"], "WithDecryption": True}
            answer = aws.call("ssm", order["ssm"], order["region"], "AmazonSSM.GetParameter", question)
            value = answer["Parameter"]["Value"]
        else:
            question, endpoint = {"SecretId": source["secret"]}, order["secretsmanager"]
            answer = aws.call("secretsmanager", endpoint, order["region"], "secretsmanager.GetSecretValue", question)
            value = answer.get("SecretString")
    except (aws.Refused, OSError) as error:
        fail("the builder can't read %s: %s" % (named(source), error), RIGHTS["ssm" if "ssm" in source else "secret"])
    if value is None:
        fail("%s is binary: only text can be a secret of a play" % named(source))
    return of_key(source, value) if "key" in source else value


def of_key(source, text):
    try:
        content = json.loads(text)
    except ValueError:
        fail("%s is no JSON, so it has no key %s" % (named(source), source["key"]))
    if not isinstance(content, dict) or source["key"] not in content:
        fail("%s has no key %s" % (named(source), source["key"]))
    value = content[source["key"]]
    return value if isinstance(value, str) else json.dumps(value)


def escaped(text):
    """As YAML writes any character between quotes."""
    return "".join(char if char.isascii() and char.isalnum() else "\\U%08x" % ord(char) for char in text)


def within(value):
    """A value, and where it is a JSON object, as a database's are in Secrets Manager, what in it looks like one of its own."""
    yield value
    try:
        content = json.loads(value)
    except ValueError:
        return
    leaves = list(content.items()) if isinstance(content, dict) else []
    while leaves:
        name, leaf = leaves.pop()
        if isinstance(leaf, dict):
            leaves.extend(leaf.items())
        elif isinstance(leaf, list):
            leaves.extend((name, inner) for inner in leaf)
        elif isinstance(leaf, str) and TELLING.search(name):
            yield leaf


class Hiding:
    """Takes values out of lines, in every form in which Ansible and shells print them."""

    def __init__(self, values):
        values = [inner for value in values for inner in within(value)]
        parts = {part for value in values for part in (value, value.strip(), *value.splitlines())}
        forms = set()
        for part in parts:
            if len(part.strip()) >= SHORTEST:
                whole, ascii, shown = json.dumps(part, ensure_ascii=False), json.dumps(part), repr(part)
                forms.update((part, whole[1:-1], ascii[1:-1], shown[1:-1], shlex.quote(part), part.replace("'", "''")))
        self.forms = sorted((form.encode("utf-8", "surrogatepass") for form in forms), key=len, reverse=True)
        self.longest = max(map(len, self.forms), default=1)
        self.held = b""

    def bytes(self, line):
        for form in self.forms:
            line = line.replace(form, HIDDEN)
        return line

    def deep(self, content):
        """Takes them out of texts wherever these are in what JSON can hold."""
        if isinstance(content, str):
            return self.bytes(content.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
        if isinstance(content, list):
            return [self.deep(part) for part in content]
        if isinstance(content, dict):
            return {self.deep(name): self.deep(part) for name, part in content.items()}
        return content

    def __call__(self, line):
        line, self.held = self.bytes(self.held + line), b""
        # A value may lie across the pieces of a line that is too long to be read at once.
        if self.longest > 1 and not line.endswith(b"\n") and len(line) >= live.LONGEST // 2:
            line, self.held = line[: 1 - self.longest], line[1 - self.longest :]
        return line


class Sealed:
    """The secrets of one play. Nothing is fetched where none is asked for."""

    def __init__(self, order):
        order = order or {"vault": {}, "variables": {}}
        vault = {name: fetch(source, order) for name, source in order["vault"].items()}
        variables = {name: fetch(source, order) for name, source in order["variables"].items()}
        for values, sources in ((vault, order["vault"]), (variables, order["variables"])):
            for name, value in values.items():
                if len(value.strip()) < SHORTEST:
                    fail("%s has fewer than %d characters: it could not be hidden" % (named(sources[name]), SHORTEST))
        self.hide = Hiding([*vault.values(), *variables.values()])
        self.folder = tempfile.mkdtemp(prefix="gyron.", dir="/run")
        self.environment, self.arguments = {}, []
        if vault or variables:
            # What the app's ansible.cfg has Ansible write of itself is filtered by nobody.
            self.environment["ANSIBLE_LOG_PATH"] = os.devnull
        files = {name: self.write("vault-" + name, value + "\n") for name, value in vault.items()}
        # By variables, which go before what the app's ansible.cfg names on its authors' machines.
        if "default" in files:
            self.environment["ANSIBLE_VAULT_PASSWORD_FILE"] = files.pop("default")
        if files:
            identities = ",".join("%s@%s" % identity for identity in files.items())
            self.environment["ANSIBLE_VAULT_IDENTITY_LIST"] = identities
        if variables:
            # What looks like a template in a secret is none.
            lines = ['"%s": !unsafe "%s"\n' % (name, escaped(value)) for name, value in variables.items()]
            self.arguments = ["-e", "@" + self.write("secrets.yml", "".join(lines))]

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def end(self):
        shutil.rmtree(self.folder, ignore_errors=True)
