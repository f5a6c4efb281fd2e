"""What stands on a cloud, by kind, as JSON: ids and names. Arguments: a bucket whose objects count, and an app, where only what its
tag names is asked for.

One process for all kinds: the AWS CLI would start anew for each, which takes longer than the cloud's answers.
"""

import json
import sys

import boto3
from botocore.config import Config

# A test may look in the middle of a storm of throttling.
PATIENT = Config(retries={"mode": "standard", "max_attempts": 20})

ALIVE = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]}


def found(service, operation, path, **asked):
    client = boto3.client(service, config=PATIENT)
    pages = client.get_paginator(operation).paginate(**asked) if client.can_paginate(operation) else None
    for page in pages or [getattr(client, operation)(**asked)]:
        things = [page]
        for name in path.split("."):
            things = [inner for thing in things for inner in of(thing, name)]
        yield from things


def of(thing, name):
    inner = thing.get(name, [])
    return inner if isinstance(inner, list) else [inner]


def main(bucket, app=None):
    tagged = [{"Name": "tag:gyron:app", "Values": [app]}] if app else []
    ours = {} if app else {"OwnerIds": ["self"]}
    of_account = {} if app else {
        "security groups": found("ec2", "describe_security_groups", "SecurityGroups.GroupName"),
        "key pairs": found("ec2", "describe_key_pairs", "KeyPairs.KeyName"),
        "interfaces": found("ec2", "describe_network_interfaces", "NetworkInterfaces.NetworkInterfaceId"),
        "launch templates": found("ec2", "describe_launch_templates", "LaunchTemplates.LaunchTemplateName"),
        "groups": found("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups.AutoScalingGroupName"),
        "balancers": found("elbv2", "describe_load_balancers", "LoadBalancers.LoadBalancerName"),
        "target groups": found("elbv2", "describe_target_groups", "TargetGroups.TargetGroupName"),
    }
    stands = {
        "instances": found("ec2", "describe_instances", "Reservations.Instances.InstanceId", Filters=[ALIVE, *tagged]),
        "images": found("ec2", "describe_images", "Images.ImageId", Owners=["self"], Filters=tagged),
        "snapshots": found("ec2", "describe_snapshots", "Snapshots.SnapshotId", Filters=tagged, **ours),
        "volumes": found("ec2", "describe_volumes", "Volumes.VolumeId", Filters=tagged),
        "objects": found("s3", "list_objects_v2", "Contents.Key", Bucket=bucket),
        **of_account,
    }
    print(json.dumps({kind: list(things) for kind, things in stands.items()}))


main(*sys.argv[1:])
