"""Gives one app the toolkit of another one, which takes longest to make. Arguments: whose it is, and who gets it."""

import sys

import boto3

s3 = boto3.client("s3")
other, app = sys.argv[1:]
source, target = f"{other}-releases", f"{app}-releases"
for thing in s3.list_objects_v2(Bucket=source, Prefix=f"{other}/toolkits/").get("Contents", []):
    key = thing["Key"]
    s3.copy_object(CopySource={"Bucket": source, "Key": key}, Bucket=target, Key=key.replace(other, app, 1))
