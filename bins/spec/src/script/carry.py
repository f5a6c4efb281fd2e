"""Carries the specs here and rspec's report there, by presigned URLs."""
import json
import sys
import time
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
    with open(name, "wb") as file:
        file.write(ask(url))


def ask(request):
    """A connection that stalls is better begun anew; both requests may be repeated."""
    for left in reversed(range(8)):
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.read()
        except OSError:
            if not left:
                raise
            time.sleep(2)


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
    ask(put)
    if said["report"]:
        print(said["report"].get("summary_line"))


try:
    {"here": here, "there": there}[sys.argv[1]](*sys.argv[2:])
except OSError as error:
    sys.exit(str(error))
