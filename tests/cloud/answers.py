"""Asks the cloud through boto3 for what gyron, Terraform and people use, and holds every answer to botocore's own model.

boto3 parses loosely: it passes over a missing member, and takes any text for an enumeration. So each answer is looked at
once more: required members, types, enumerated values. Prints a line for each that is wrong, and a count at the end.
"""

import json
import time
import urllib.request
import uuid

import boto3
from botocore.validate import ParamValidator

wrong = []
asked = set()


def check(model, parsed, **_):
    asked.add((model.service_model.service_name, model.name))
    if model.output_shape is None or "Error" in parsed:
        return
    content = said({key: value for key, value in parsed.items() if key != "ResponseMetadata"})
    report = ParamValidator().validate(content, model.output_shape)
    if report.has_errors():
        wrong.append(f"{model.name}: {report.generate_report()}")
    walk(model.output_shape, content, model.name)
    if not parsed["ResponseMetadata"].get("RequestId"):
        wrong.append(f"{model.name}: no request id")


def said(value):
    """What the answer itself says: without what AWS leaves empty (SSM answers "" for all that was not asked for, against its
    own model), and what boto3 adds or decodes."""
    if isinstance(value, dict):
        own = {key: said(inner) for key, inner in value.items() if inner not in (None, "") and key != "ExpiresString"}
        if isinstance(own.get("AssumeRolePolicyDocument"), dict):
            own["AssumeRolePolicyDocument"] = json.dumps(own["AssumeRolePolicyDocument"])
        return own
    return [said(inner) for inner in value] if isinstance(value, list) else value


def walk(shape, value, where):
    if shape.type_name == "structure" and isinstance(value, dict):
        for name, inner in value.items():
            if name in shape.members:
                walk(shape.members[name], inner, f"{where}.{name}")
    elif shape.type_name == "list" and isinstance(value, list):
        for inner in value:
            walk(shape.member, inner, f"{where}[]")
    elif shape.type_name == "string" and getattr(shape, "enum", None) and value not in shape.enum:
        wrong.append(f"{where}: {value!r} is none of {shape.enum}")


session = boto3.Session()


def client(name, region=None):
    made = session.client(name, region_name=region)
    made.meta.events.register("after-call", lambda model, parsed, **_: check(model, parsed))
    return made


def refused(ask, code):
    try:
        ask()
        wrong.append(f"{code}: was not refused")
    except Exception as error:
        found = getattr(error, "response", {}).get("Error", {}).get("Code", repr(error))
        if found != code:
            wrong.append(f"{code}: was refused as {found}: {error}")


def until(what, ask, done):
    begun = time.monotonic()
    while not done(ask()):
        if time.monotonic() - begun > 120:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.5)


names = ["ec2", "ssm", "elbv2", "autoscaling", "s3", "sts", "iam", "kms"]
ec2, ssm, elb, groups, s3, sts, iam, kms = map(client, names)
own = "answers-" + uuid.uuid4().hex[:8]
tags = [{"Key": "gyron:app", "Value": own}]


def tagged(kind):
    return [{"ResourceType": kind, "Tags": tags}]


# What stands in every account.
sts.get_caller_identity()
vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]
ec2.describe_availability_zones()
ec2.describe_security_groups()
ec2.describe_network_interfaces()
ec2.describe_account_attributes()
ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsSupport")
ec2.describe_instance_types(InstanceTypes=["t3.small"])
ec2.describe_instance_type_offerings(Filters=[{"Name": "instance-type", "Values": ["t3.small"]}])
parameter = "/aws/service/debian/release/12/latest/amd64"
base = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
ssm.get_parameters(Names=[parameter, "/no/such"])
ec2.describe_images(ImageIds=[base])
# Debian's own image has no agent; this one of the rehearsal's has.
base = ec2.describe_images(Filters=[{"Name": "name", "Values": ["gyron-debian-12-ssm"]}])["Images"][0]["ImageId"]

# An object as releases, records and leases are.
s3.create_bucket(Bucket=own)
put = s3.put_object(Bucket=own, Key="a", Body=b"a", IfNoneMatch="*", ChecksumAlgorithm="SHA256")
s3.put_object(Bucket=own, Key="a", Body=b"b", IfMatch=put["ETag"])
for condition in ({"IfNoneMatch": "*"}, {"IfMatch": put["ETag"]}):
    refused(lambda: s3.put_object(Bucket=own, Key="a", Body=b"c", **condition), "PreconditionFailed")
s3.head_object(Bucket=own, Key="a", ChecksumMode="ENABLED")
if s3.get_object(Bucket=own, Key="a")["Body"].read() != b"b":
    wrong.append("GetObject: other content than was put")
# A plain PUT to a presigned URL, as a person's script does it: urllib calls every body a form.
url = s3.generate_presigned_url("put_object", Params={"Bucket": own, "Key": "b"})
urllib.request.urlopen(urllib.request.Request(url, data=b"x=1", method="PUT"), timeout=10)
if s3.get_object(Bucket=own, Key="b")["Body"].read() != b"x=1":
    wrong.append("GetObject: not what was put by a presigned URL")
s3.delete_object(Bucket=own, Key="b")
s3.list_objects_v2(Bucket=own)
s3.get_bucket_location(Bucket=own)
s3.delete_object(Bucket=own, Key="a")

# A builder, its command, its image.
security = ec2.create_security_group(GroupName=own, Description="a test", VpcId=vpc)["GroupId"]
ec2.authorize_security_group_ingress(GroupId=security, CidrIp="0.0.0.0/0", IpProtocol="tcp", FromPort=80, ToPort=80)
ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [security]}])
trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
trust = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
policy = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
iam.create_role(RoleName=own, AssumeRolePolicyDocument=trust)
iam.attach_role_policy(RoleName=own, PolicyArn=policy)
iam.create_instance_profile(InstanceProfileName=own)
iam.add_role_to_instance_profile(InstanceProfileName=own, RoleName=own)
iam.get_instance_profile(InstanceProfileName=own)


def launch(profile, token):
    return ec2.run_instances(
        ImageId=base, InstanceType="t3.small", MinCount=1, MaxCount=1, SubnetId=subnets[0], SecurityGroupIds=[security],
        ClientToken=token, IamInstanceProfile={"Name": profile}, TagSpecifications=tagged("instance"),
        MetadataOptions={"HttpTokens": "required"}, InstanceInitiatedShutdownBehavior="terminate",
        BlockDeviceMappings=[{"DeviceName": root, "Ebs": volume}],
    )

root = ec2.describe_images(ImageIds=[base])["Images"][0]["RootDeviceName"]
key = kms.create_key(Description="a test")["KeyMetadata"]["KeyId"]
volume = {"VolumeSize": 20, "VolumeType": "gp3", "Iops": 4000, "Throughput": 500, "Encrypted": True, "KmsKeyId": key}

refused(lambda: launch("no-such-profile", "other"), "InvalidParameterValue")
run = launch(own, own)
instance = run["Instances"][0]["InstanceId"]
by_id = [{"Key": "InstanceIds", "Values": [instance]}]
until(
    "the agent",
    lambda: ssm.describe_instance_information(Filters=by_id)["InstanceInformationList"],
    lambda known: known and known[0]["PingStatus"] == "Online",
)
ec2.describe_instance_status(InstanceIds=[instance], IncludeAllInstances=True)
ec2.describe_instance_attribute(InstanceId=instance, Attribute="disableApiTermination")
made = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])["Volumes"][0]
made = {name: made[name] for name in ("Size", "VolumeType", "Iops", "Throughput", "Encrypted", "KmsKeyId")}
key = kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"]
if list(made.values()) != [20, "gp3", 4000, 500, True, key]:
    wrong.append(f"DescribeVolumes: {made}")
ec2.describe_tags()
ec2.create_tags(Resources=[instance], Tags=[{"Key": "more", "Value": "1"}])
ec2.get_console_output(InstanceId=instance)
command = ssm.send_command(
    InstanceIds=[instance], DocumentName="AWS-RunShellScript", TimeoutSeconds=60, Parameters={"commands": ["echo hello"]}
)["Command"]["CommandId"]
invocation = lambda: ssm.get_command_invocation(CommandId=command, InstanceId=instance)
time.sleep(1)
until("the command", invocation, lambda told: told["Status"] not in ("Pending", "InProgress", "Delayed"))
if invocation()["StandardOutputContent"] != "hello\n":
    wrong.append(f"GetCommandInvocation: {invocation()}")
ssm.list_commands(CommandId=command)
ssm.list_command_invocations(CommandId=command, Details=True)
ssm.cancel_command(CommandId=command)

# A balancer before the instance, and its weights.
described = dict(Protocol="HTTP", Port=80, VpcId=vpc, HealthCheckPath="/health", Tags=tags)
blue, green = (
    elb.create_target_group(Name=f"{own}-{colour}", **described)["TargetGroups"][0]["TargetGroupArn"]
    for colour in ("blue", "green")
)
balancer = elb.create_load_balancer(Name=own, Subnets=subnets[:2], SecurityGroups=[security], Tags=tags)
balancer = balancer["LoadBalancers"][0]["LoadBalancerArn"]
fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503", "ContentType": "text/plain"}}
listener = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[fixed])
listener = listener["Listeners"][0]["ListenerArn"]


def forward(blue_weight, green_weight):
    targets = [{"TargetGroupArn": blue, "Weight": blue_weight}, {"TargetGroupArn": green, "Weight": green_weight}]
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": targets}}]


anywhere = [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}]
rule = elb.create_rule(ListenerArn=listener, Conditions=anywhere, Priority=100, Actions=forward(100, 0), Tags=tags)
rule = rule["Rules"][0]["RuleArn"]
elb.modify_rule(RuleArn=rule, Actions=forward(0, 100))
elb.modify_target_group_attributes(
    TargetGroupArn=blue, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "5"}]
)
elb.modify_load_balancer_attributes(
    LoadBalancerArn=balancer, Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "30"}]
)
elb.register_targets(TargetGroupArn=blue, Targets=[{"Id": instance}])
elb.describe_load_balancers()
elb.describe_load_balancer_attributes(LoadBalancerArn=balancer)
elb.describe_target_groups(LoadBalancerArn=balancer)
elb.describe_target_group_attributes(TargetGroupArn=blue)
elb.describe_listeners(LoadBalancerArn=balancer)
elb.describe_rules(ListenerArn=listener)
elb.describe_tags(ResourceArns=[balancer, rule])
elb.describe_target_health(TargetGroupArn=blue)
elb.deregister_targets(TargetGroupArn=blue, Targets=[{"Id": instance}])

# The image, and what stands on it.
image = ec2.create_image(InstanceId=instance, Name=own, TagSpecifications=tagged("image") + tagged("snapshot"))
image = image["ImageId"]
snapshot = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
pending = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
if (pending["State"], pending["Tags"]) != ("pending", tags):
    wrong.append(f"DescribeSnapshots: {pending}")
until("the image", lambda: ec2.describe_images(ImageIds=[image])["Images"], lambda it: it[0]["State"] == "available")
completed = ec2.describe_snapshots(OwnerIds=["self"], SnapshotIds=[snapshot])["Snapshots"][0]
if [completed[name] for name in ("State", "VolumeSize", "Encrypted", "KmsKeyId")] != ["completed", 20, True, key]:
    wrong.append(f"DescribeSnapshots: {completed}")

# Who may launch it, until when it is recommended, and its copy in another region.
account, organisation = "111122223333", "arn:aws:organizations::111122223333:organization/o-a1b2c3d4e5"
ec2.modify_image_attribute(ImageId=image, ImdsSupport={"Value": "v2.0"})
ec2.modify_image_attribute(ImageId=image, Description={"Value": "a test"})
adding = {"Add": [{"UserId": account}, {"OrganizationArn": organisation}]}
ec2.modify_image_attribute(ImageId=image, LaunchPermission=adding)
permissions = ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")["LaunchPermissions"]
if permissions != adding["Add"]:
    wrong.append(f"DescribeImageAttribute: {permissions}")
ec2.describe_image_attribute(ImageId=image, Attribute="imdsSupport")
ec2.reset_image_attribute(ImageId=image, Attribute="launchPermission")
ec2.modify_snapshot_attribute(
    SnapshotId=snapshot, Attribute="createVolumePermission", OperationType="add", UserIds=[account]
)
ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
ec2.reset_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
refused(lambda: ec2.delete_snapshot(SnapshotId=snapshot), "InvalidSnapshot.InUse")
ec2.enable_image_deprecation(ImageId=image, DeprecateAt=time.time() + 86400)
if "DeprecationTime" not in ec2.describe_images(ImageIds=[image])["Images"][0]:
    wrong.append("DescribeImages: no deprecation time")
ec2.disable_image_deprecation(ImageId=image)
refused(lambda: ec2.enable_image_deprecation(ImageId=image, DeprecateAt=0), "InvalidParameterValue")
elsewhere = client("ec2", "eu-west-1" if session.region_name != "eu-west-1" else "us-east-1")


def copied(**more):
    return elsewhere.copy_image(
        SourceImageId=image, SourceRegion=session.region_name, Name=own, Encrypted=True, ClientToken=own,
        TagSpecifications=tagged("image") + tagged("snapshot"), **more,
    )["ImageId"]


copy = copied()
if copied() != copy:
    wrong.append("CopyImage: another copy by the same token")
refused(lambda: copied(Description="other"), "IdempotentParameterMismatch")
of_copy = lambda: elsewhere.describe_images(Owners=["self"], ImageIds=[copy])["Images"]
until("the copy", of_copy, lambda it: it[0]["State"] == "available")
# Its key is the one that AWS manages, in that region: such a copy can't be shared.
by_default = of_copy()[0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
elsewhere.describe_snapshots(SnapshotIds=[by_default])
refused(lambda: elsewhere.modify_image_attribute(ImageId=copy, LaunchPermission=adding), "InvalidParameter")
refused(
    lambda: elsewhere.modify_snapshot_attribute(
        SnapshotId=by_default, CreateVolumePermission={"Add": [{"UserId": account}]}
    ),
    "OperationNotPermitted",
)
refused(
    lambda: elsewhere.run_instances(ImageId=copy, InstanceType="t3.small", MinCount=1, MaxCount=1), "UnsupportedOperation"
)
elsewhere.deregister_image(ImageId=copy, DeleteAssociatedSnapshots=True)
ec2.get_ebs_encryption_by_default()
ec2.get_ebs_default_kms_key_id()
template = ec2.create_launch_template(
    LaunchTemplateName=own, LaunchTemplateData={"ImageId": image, "InstanceType": "t3.small"},
    TagSpecifications=tagged("launch-template"),
)["LaunchTemplate"]["LaunchTemplateId"]
ec2.describe_launch_templates(LaunchTemplateIds=[template])
ec2.describe_launch_template_versions(LaunchTemplateId=template)
groups.create_auto_scaling_group(
    AutoScalingGroupName=own, LaunchTemplate={"LaunchTemplateId": template}, MinSize=0, MaxSize=1, DesiredCapacity=0,
    VPCZoneIdentifier=",".join(subnets[:2]), TargetGroupARNs=[green],
    Tags=[{"Key": "gyron:app", "Value": own, "PropagateAtLaunch": True}],
)
groups.describe_auto_scaling_groups(AutoScalingGroupNames=[own])
groups.describe_auto_scaling_instances()
groups.describe_scaling_activities(AutoScalingGroupName=own)
groups.describe_load_balancer_target_groups(AutoScalingGroupName=own)
groups.describe_tags()
groups.update_auto_scaling_group(AutoScalingGroupName=own, MaxSize=2)

# All of it away again.
groups.delete_auto_scaling_group(AutoScalingGroupName=own, ForceDelete=True)
ec2.delete_launch_template(LaunchTemplateId=template)
elb.delete_rule(RuleArn=rule)
elb.delete_listener(ListenerArn=listener)
elb.delete_load_balancer(LoadBalancerArn=balancer)
for group in (blue, green):
    elb.delete_target_group(TargetGroupArn=group)
ec2.stop_instances(InstanceIds=[instance])
state = lambda: ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"]
until("the stop", state, lambda now: now == "stopped")
ec2.start_instances(InstanceIds=[instance])
until("the start", state, lambda now: now == "running")
ec2.terminate_instances(InstanceIds=[instance])
until("the end", state, lambda now: now == "terminated")
ec2.delete_security_group(GroupId=security)
ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
kms.schedule_key_deletion(KeyId=key.rpartition("/")[2], PendingWindowInDays=7)
s3.delete_bucket(Bucket=own)
iam.remove_role_from_instance_profile(InstanceProfileName=own, RoleName=own)
iam.delete_instance_profile(InstanceProfileName=own)
iam.detach_role_policy(RoleName=own, PolicyArn=policy)
iam.delete_role(RoleName=own)

# Errors that gyron tells apart by their codes.
for ask, code in [
    (lambda: ec2.describe_instances(InstanceIds=["i-00000000000000000"]), "InvalidInstanceID.NotFound"),
    (lambda: ec2.describe_images(ImageIds=["ami-00000000000000000"]), "InvalidAMIID.NotFound"),
    (lambda: ssm.get_parameter(Name="/no/such"), "ParameterNotFound"),
    (lambda: ssm.send_command(InstanceIds=["i-00000000000000000"], DocumentName="AWS-RunShellScript",
                              Parameters={"commands": ["true"]}), "InvalidInstanceId"),
    (lambda: s3.head_object(Bucket=own, Key="a"), "404"),
    (lambda: s3.get_object(Bucket=own, Key="a"), "NoSuchBucket"),
    (lambda: elb.describe_rules(RuleArns=[rule]), "RuleNotFound"),
    (lambda: elb.describe_target_health(TargetGroupArn=blue), "TargetGroupNotFound"),
    (lambda: ec2.run_instances(
        ImageId=base, InstanceType="t3.small", MinCount=1, MaxCount=1,
        BlockDeviceMappings=[{"DeviceName": root, "Ebs": {"VolumeSize": 1}}]), "InvalidBlockDeviceMapping"),
    (lambda: groups.start_instance_refresh(AutoScalingGroupName=own), "NotImplemented"),
]:
    refused(ask, code)

for line in wrong:
    print(line)
print(f"{len(asked)} actions asked, {len(wrong)} answers wrong")
