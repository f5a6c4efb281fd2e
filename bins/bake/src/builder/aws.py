"""Calls AWS as the builder's own role, since the distribution's Python has no SDK: credentials by IMDSv2, requests by SigV4."""

import datetime
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

METADATA = "http://169.254.169.254/latest/"
JSON = "application/x-amz-json-1.1"


class Refused(Exception):
    """AWS answered, and the answer is no."""


def metadata(path, method="GET", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(METADATA + path, method=method, headers=headers)
    # Never by a proxy: it would ask its own machine.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        return answer.read().decode()


def credentials():
    """What the instance profile gives: docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html"""
    token = {"X_aws_ec2_metadata_token": metadata("api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="60")}
    place = "meta-data/iam/security-credentials/"
    return json.loads(metadata(place + metadata(place, **token).split()[0], **token))


def signed(service, endpoint, region, target, body, who, now):
    """The headers of a signed POST: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""
    url = urlsplit(endpoint)
    at = now.strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "content-type": JSON,
        "host": url.netloc,
        "x-amz-date": at,
        "x-amz-security-token": who["Token"],
        "x-amz-target": target,
    }
    names = ";".join(headers)
    lines = "".join("%s:%s\n" % header for header in headers.items())
    canonical = "\n".join(["POST", url.path + "/", "", lines, names, hashlib.sha256(body).hexdigest()])
    scope = "/".join([at[:8], region, service, "aws4_request"])
    text = "\n".join(["AWS4-HMAC-SHA256", at, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + who["SecretAccessKey"].encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    credential = "Credential=%s/%s" % (who["AccessKeyId"], scope)
    headers["authorization"] = "AWS4-HMAC-SHA256 %s, SignedHeaders=%s, Signature=%s" % (credential, names, signature)
    return headers


def call(service, endpoint, region, target, question):
    """AWS's answer to a call of a JSON service. What no second try would mend is Refused."""
    trouble = None
    for attempt in range(8):
        if attempt:
            time.sleep(2)
        try:
            body = json.dumps(question).encode()
            now = datetime.datetime.now(datetime.timezone.utc)
            headers = signed(service, endpoint, region, target, body, credentials(), now)
            request = urllib.request.Request(endpoint + "/", data=body, headers=headers)
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            trouble = said(error)
            if error.code < 500 and "Throttl" not in trouble:
                raise Refused(trouble) from None
        except OSError as error:
            trouble = str(error)
    raise Refused(trouble)


def said(error):
    try:
        answer = json.loads(error.read())
        kind = answer.get("__type", "").split("#")[-1]
        message = (answer.get("message") or answer.get("Message") or "").rstrip(".")
        return "%s: %s" % (kind, message) if message else kind
    except ValueError:
        return str(error)
