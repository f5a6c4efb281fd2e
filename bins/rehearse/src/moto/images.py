"""Images as AWS has them: moto 5.2 gives each a root of 15 GiB without encryption, and copies without keys, tokens and tags. Who
waits for what, and for how long, is the gateway's own."""

import copy
import functools
import hashlib
import json
import os
import threading
from datetime import datetime, timezone

import volumes
from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, InvalidParameterDependency
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.utils import convert_tag_spec

# The root volume of Debian's own images.
BASE_ROOT = {"VolumeSize": 8, "VolumeType": "gp3", "Encrypted": False, "DeleteOnTermination": True}

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


load = AmiBackend._load_amis


def load_where_bodies_are(self):
    """An id of an image belongs to one region: the base images are where something can boot from them."""
    if self.region_name == os.environ["GYRON_REGION_OF_BODIES"]:
        load(self)


AmiBackend._load_amis = load_where_bodies_are

# Moto serves calls side by side: a name or a token that is free must still be free when the image is made.
one_at_a_time = threading.Lock()


def name_is_free(backend, name):
    for other in backend.amis.values():
        if other.name == name and other.owner_id == backend.account_id:
            raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {other.id}")


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
    name_is_free(self.ec2_backend, self._get_param("Name"))
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
    name_is_free(backend, self._get_param("Name"))
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


def alone(action):
    @functools.wraps(action)
    def serve(self):
        with one_at_a_time:
            return action(self)

    return serve


for action in (create_image, copy_image):
    setattr(AmisResponse, action.__name__, alone(action))
