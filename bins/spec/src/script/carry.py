"""Carries the specs here and rspec's report there, by presigned URLs."""
import json
import sys
import urllib.request


def text(name):
    try:
        with open(name, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def report():
    try:
        return json.loads(text("report.json"))
    except ValueError:
        return None


def here(url, name):
    with urllib.request.urlopen(url, timeout=60) as answer, open(name, "wb") as file:
        file.write(answer.read())


def there(url, status, system):
    said = {
        "report": report(),
        "text": text("text.log")[-2000000:],
        "errors": text("errors.log")[-20000:],
        "status": int(status),
        "system": system,
        "units": text("units.log").splitlines(),
    }
    body = json.dumps(said).encode()
    put = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="PUT")
    urllib.request.urlopen(put, timeout=60).read()
    if said["report"]:
        print(said["report"].get("summary_line"))


try:
    {"here": here, "there": there}[sys.argv[1]](*sys.argv[2:])
except OSError as error:
    sys.exit(str(error))
