"""Images as AWS has them: moto 5.2 gives each a root of 15 GiB without encryption, copies without keys, tokens and tags,
shares with accounts alone, and knows no deprecation. Who waits for what, and for how long, is the gateway's own."""

import copy
import hashlib
import json
import re
from datetime import datetime, timedelta, timezone

import volumes
from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError, InvalidAMIAttributeItemValueError, InvalidParameterDependency
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.utils import convert_tag_spec

# The root volume of Debian's own images.
BASE_ROOT = {"VolumeSize": 8, "VolumeType": "gp3", "Encrypted": False, "DeleteOnTermination": True}
ARNS = {
    "OrganizationArn": r"arn:aws[a-z-]*:organizations::\d{12}:organization/o-[a-z0-9]{10,32}",
    "OrganizationalUnitArn": r"arn:aws[a-z-]*:organizations::\d{12}:ou/o-[a-z0-9]{10,32}/ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}",
}

make = Ami.__init__


def make_with_root(self, ec2_backend, ami_id, instance=None, source_ami=None, **kwargs):
    make(self, ec2_backend, ami_id, instance=instance, source_ami=source_ami, **kwargs)
    self.deprecation_time = None
    self.imds_support = None
    self.source_image_id = self.source_image_region = None
    self.deregistration_protection = "disabled"
    self.platform_details, self.usage_operation = "Linux/UNIX", "RunInstances"
    snapshot = self.ebs_snapshot
    # What a snapshot says of its volume is of the time when it was taken.
    snapshot.volume = copy.copy(snapshot.volume)
    if instance:
        self.root_device_name, self.root_device_type = instance.root_device_name, "ebs"
        # Nothing says that AWS has an image inherit `imdsSupport` of the one its instance was launched from: not here.
        device = instance.block_device_mapping[instance.root_device_name]
        volume = ec2_backend.get_volume(device.volume_id)
        root = {
            "VolumeSize": volume.size,
            "VolumeType": volume.volume_type,
            "Iops": volume.iops,
            "Throughput": volume.throughput,
            "Encrypted": volume.encrypted,
            "DeleteOnTermination": device.delete_on_termination,
        }
        snapshot.volume.id, snapshot.kms_key_id = volume.id, volume.kms_key_id
    elif source_ami:
        root = dict(source_ami.root)
        self.root_device_name, self.root_device_type = source_ami.root_device_name, source_ami.root_device_type
        self.imds_support = source_ami.imds_support
        snapshot.volume.id = "vol-ffffffff"
    else:
        root = dict(BASE_ROOT)
    snapshot.volume.size, snapshot.encrypted = root["VolumeSize"], root["Encrypted"]
    self.root = {**root, "SnapshotId": snapshot.id}


def block_device_mappings(self):
    # The key is the snapshot's: an image's mapping does not say it.
    ebs = {name: value for name, value in self.root.items() if value is not None and name != "KmsKeyId"}
    return [{"DeviceName": self.root_device_name, "Ebs": ebs}]


filter_value = Ami.get_filter_value


def filter_value_of_mappings(self, filter_name, method_name=None):
    ebs = {
        "block-device-mapping.snapshot-id": self.root["SnapshotId"],
        "block-device-mapping.volume-size": str(self.root["VolumeSize"]),
        "block-device-mapping.volume-type": self.root["VolumeType"],
        "block-device-mapping.encrypted": str(self.root["Encrypted"]).lower(),
        "block-device-mapping.device-name": self.root_device_name,
        "image-type": self.image_type,
        "source-image-id": self.source_image_id,
        "source-image-region": self.source_image_region,
    }
    return ebs[filter_name] if filter_name in ebs else filter_value(self, filter_name, method_name)


Ami.__init__ = make_with_root
Ami.block_device_mappings = property(block_device_mappings)
Ami.get_filter_value = filter_value_of_mappings


def own(backend, image_id):
    """An image that may be changed: one of the account's own."""
    image = (backend.describe_images(ami_ids=[image_id]) or [None])[0]
    if image is None:
        raise EC2ClientError("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is no longer available")
    if image.owner_id != backend.account_id:
        raise EC2ClientError("AuthFailure", f"Not authorized for image:{image_id}")
    return image


def give_tags(image, tags):
    image.add_tags(tags.get("image", {}))
    image.ebs_snapshot.add_tags(tags.get("snapshot", {}))


def create_image(self):
    """Moto breaks on tags of snapshots, and passes over mappings."""
    tags = convert_tag_spec(self._get_param("TagSpecifications", []))
    mappings = self._get_param("BlockDeviceMappings", [])
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    for mapping in mappings:
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html
        if mapping.get("DeviceName") != instance.root_device_name or set(mapping.get("Ebs") or {}) - {"DeleteOnTermination"}:
            raise EC2ClientError(
                "UnsupportedOperation",
                "the rehearsal changes nothing of an image's mappings but DeleteOnTermination of its root",
            )
    self.error_on_dryrun()
    image = self.ec2_backend.create_image(
        self._get_param("InstanceId"), self._get_param("Name"), self._get_param("Description", ""), []
    )
    for mapping in mappings:
        image.root.update(mapping.get("Ebs") or {})
    give_tags(image, tags)
    return ActionResult({"ImageId": image.id})


def copy_image(self):
    """Once for each token; with the key, and the tags, of the copy's own region."""
    backend = self.ec2_backend
    token = self._get_param("ClientToken")
    names = ("SourceImageId", "SourceRegion", "Name", "Description", "Encrypted", "KmsKeyId", "CopyImageTags", "TagSpecifications")
    asked = hashlib.sha256(json.dumps([self._get_param(name) for name in names], default=str).encode()).hexdigest()
    tokens = backend.__dict__.setdefault("copies_by_token", {})
    if token and token in tokens:
        before, image_id = tokens[token]
        if before != asked:
            raise EC2ClientError(
                "IdempotentParameterMismatch",
                "The client token you have provided is not consistent with the request parameters",
            )
        return ActionResult({"ImageId": image_id})
    for other in backend.amis.values():
        if other.name == self._get_param("Name") and other.owner_id == backend.account_id:
            raise EC2ClientError(
                "InvalidAMIName.Duplicate", f"AMI name {other.name} is already in use by AMI {other.id}"
            )
    encrypted, key = bool(self._get_param("Encrypted")), self._get_param("KmsKeyId")
    if key and not encrypted:
        raise InvalidParameterDependency("KmsKeyId", "Encrypted")
    self.error_on_dryrun()
    source_region = self._get_param("SourceRegion")
    image = backend.copy_image(
        self._get_param("SourceImageId"), source_region, self._get_param("Name"), self._get_param("Description")
    )
    from moto.ec2.models import ec2_backends

    source = ec2_backends[backend.account_id][source_region].amis[self._get_param("SourceImageId")]
    image.source_image_id, image.source_image_region = source.id, source_region
    encrypt(backend, image, source, encrypted, key)
    tags = convert_tag_spec(self._get_param("TagSpecifications", []))
    if self._get_param("CopyImageTags"):
        of_source = {tag["key"]: tag["value"] for tag in source.get_tags() if not tag["key"].startswith("aws:")}
        tags["image"] = {**of_source, **tags.get("image", {})}
    give_tags(image, tags)
    milliseconds = int(datetime.now(timezone.utc).timestamp() * 1000)
    image.ebs_snapshot.description = (
        f"Copied for DestinationAmi {image.id} from SourceAmi {source.id} for SourceSnapshot {source.ebs_snapshot.id}. "
        f"Task created on {milliseconds:,}."
    )
    if token:
        tokens[token] = (asked, image.id)
    return ActionResult({"ImageId": image.id})


def encrypt(backend, image, source, asked, key):
    snapshot = image.ebs_snapshot
    encrypted = asked or source.ebs_snapshot.encrypted or backend.ebs_encryption_by_default
    image.root["Encrypted"] = snapshot.encrypted = encrypted
    if not encrypted:
        return
    snapshot.kms_key_id = volumes.key_arn(backend, key) if key else volumes.default_key(backend)
    if snapshot.kms_key_id is None:
        # "This action will eventually report failure": https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopyImage.html
        snapshot.status, snapshot.status_message = "error", "Given key ID is not accessible"
        image.state = "failed"
        image.state_reason = {"Code": "Client.InvalidKmsKey", "Message": "Given key ID is not accessible"}


def refuse_sharing(backend, image, added):
    """As EC2 says it (github.com/hashicorp/packer/issues/7410)."""
    snapshot = image.ebs_snapshot
    if snapshot.encrypted and any("Group" in one for one in added):
        raise EC2ClientError(
            "UnsupportedOperation", "Encrypted snapshots can't be shared publicly. Specify another snapshot."
        )
    if added and snapshot.encrypted and volumes.is_managed(backend, snapshot.kms_key_id):
        raise EC2ClientError(
            "InvalidParameter",
            "Snapshots encrypted with the AWS Managed CMK can't be shared. Specify another snapshot.",
        )


def validate_permission_targets(self, permissions):
    for one in permissions:
        if "UserId" in one and not re.fullmatch(r"\d{12}", one["UserId"]):
            raise InvalidAMIAttributeItemValueError("userId", one["UserId"])
        if "Group" in one and one["Group"] != "all":
            raise InvalidAMIAttributeItemValueError("UserGroup", one["Group"])
        for kind, pattern in ARNS.items():
            if kind in one and not re.fullmatch(pattern, one[kind]):
                raise InvalidAMIAttributeItemValueError(kind[0].lower() + kind[1:], one[kind])


AmiBackend.validate_permission_targets = validate_permission_targets


def modify_image_attribute(self):
    """Moto knows launch permissions alone, of the first of several, and shares what can't be shared."""
    backend = self.ec2_backend
    image = own(backend, self._get_param("ImageId"))
    attribute, value = self._get_param("Attribute"), self._get_param("Value")
    description = self._get_param("Description.Value") or (value if attribute == "description" else None)
    imds = self._get_param("ImdsSupport.Value") or (value if attribute == "imdsSupport" else None)
    changes = self._get_param("LaunchPermission", {})
    added, removed = list(changes.get("Add", [])), list(changes.get("Remove", []))
    named = [
        {member: one}
        for member, parameter in (
            ("UserId", "UserIds"),
            ("Group", "UserGroups"),
            ("OrganizationArn", "OrganizationArns"),
            ("OrganizationalUnitArn", "OrganizationalUnitArns"),
        )
        for one in self._get_param(parameter, [])
    ]
    if self._get_param("OperationType") in ("add", "remove"):
        (added if self._get_param("OperationType") == "add" else removed).extend(named)
    if imds is not None and imds != "v2.0":
        raise EC2ClientError("InvalidParameterValue", f"Value ({imds}) for parameter imdsSupport is invalid.")
    backend.validate_permission_targets(added + removed)
    self.error_on_dryrun()
    refuse_sharing(backend, image, added)
    image.launch_permissions += [one for one in added if one not in image.launch_permissions]
    image.launch_permissions = [one for one in image.launch_permissions if one not in removed]
    if description is not None:
        image.description = description
    if imds is not None:
        image.imds_support = imds
    return EmptyResult()


describe_attribute = AmisResponse.describe_image_attribute


def describe_image_attribute(self):
    attribute = self._get_param("Attribute")
    named = {
        "description": ("Description", "description"),
        "bootMode": ("BootMode", "boot_mode"),
        "imdsSupport": ("ImdsSupport", "imds_support"),
        "sriovNetSupport": ("SriovNetSupport", "sriov"),
        "deregistrationProtection": ("DeregistrationProtection", "deregistration_protection"),
    }
    if attribute not in named and attribute != "launchPermission":
        return describe_attribute(self)
    image = own(self.ec2_backend, self._get_param("ImageId"))
    self.error_on_dryrun()
    if attribute == "launchPermission":
        return ActionResult({"ImageId": image.id, "LaunchPermissions": image.launch_permissions})
    member, name = named[attribute]
    value = getattr(image, name)
    return ActionResult({"ImageId": image.id, member: {"Value": value} if value is not None else {}})


def reset_image_attribute(self):
    image = own(self.ec2_backend, self._get_param("ImageId"))
    self.error_on_dryrun()
    image.launch_permissions = []
    return EmptyResult()


def enable_image_deprecation(self):
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EnableImageDeprecation.html"""
    image = own(self.ec2_backend, self._get_param("ImageId"))
    at = self._get_param("DeprecateAt")
    if not isinstance(at, datetime):
        at = datetime.fromisoformat(str(at).replace("Z", "+00:00"))
    at = at.replace(tzinfo=at.tzinfo or timezone.utc).astimezone(timezone.utc)
    at = (at + timedelta(seconds=30)).replace(second=0, microsecond=0)
    now = datetime.now(timezone.utc)
    latest = now + timedelta(days=3653)
    if image.is_public:
        created = image.creation_date
        latest = created.replace(tzinfo=created.tzinfo or timezone.utc) + timedelta(days=731)
    if not now - timedelta(minutes=1) <= at <= latest:
        raise EC2ClientError(
            "InvalidParameterValue", f"Value ({at:%Y-%m-%dT%H:%M:%SZ}) for parameter DeprecateAt is invalid."
        )
    self.error_on_dryrun()
    image.deprecation_time = f"{at:%Y-%m-%dT%H:%M:%S.000Z}"
    return ActionResult({"Return": True})


def disable_image_deprecation(self):
    image = own(self.ec2_backend, self._get_param("ImageId"))
    self.error_on_dryrun()
    image.deprecation_time = None
    return ActionResult({"Return": True})


for action in (
    create_image,
    copy_image,
    modify_image_attribute,
    describe_image_attribute,
    reset_image_attribute,
    enable_image_deprecation,
    disable_image_deprecation,
):
    setattr(AmisResponse, action.__name__, action)
