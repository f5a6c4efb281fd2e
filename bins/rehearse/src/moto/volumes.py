"""Root volumes as AWS has them, and the keys that encrypt them: moto 5.2 makes each root volume of 8 GiB without snapshot, and drops
half of a block device mapping."""

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, InvalidParameterDependency
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import convert_tag_spec
from moto.kms import kms_backends

DEFAULT_KEY = "alias/aws/ebs"

# https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html
WITH_IOPS = ("gp3", "io1", "io2")
GP3_IOPS, GP3_THROUGHPUT = 3000, 125

# What a mapping says of a volume.
SETTINGS = ("VolumeSize", "VolumeType", "Iops", "Throughput", "Encrypted", "KmsKeyId", "DeleteOnTermination")


def key_arn(backend, key):
    """The ARN of a key that is named by id, alias or ARN and can encrypt; None where there is none such in this region."""
    kms = kms_backends[backend.account_id][backend.region_name]
    if key.startswith("arn:") and f":{backend.region_name}:" not in key:
        return None
    try:
        found = kms.describe_key(key)
    except Exception:
        return None
    return found.arn if found.key_state == "Enabled" else None


def managed_key(backend):
    """The ARN of the AWS managed key `aws/ebs`, which AWS makes when it is first needed."""
    default = backend.default_kms_key_id
    arn = backend._create_default_encryption_key()
    # Moto makes it the default at the same time.
    backend.default_kms_key_id = default
    return arn


def default_key(backend):
    """The key that encrypts where none is named: the account's own choice, else `aws/ebs`."""
    return backend.default_kms_key_id or managed_key(backend)


def is_managed(backend, key):
    return bool(key) and key == managed_key(backend)


def laid_over(root, mapping):
    """An image's root volume, changed by what a mapping says of the same device."""
    ebs = mapping.get("Ebs") or {}
    changed = {**root, **{name: ebs[name] for name in SETTINGS if ebs.get(name) is not None}}
    device = mapping.get("DeviceName")
    if ebs.get("VolumeType") not in (None, root["VolumeType"]):
        # What was the old type's own says nothing of the new one.
        for name in ("Iops", "Throughput"):
            changed[name] = ebs.get(name)
    for name, kinds in (("Iops", WITH_IOPS), ("Throughput", ("gp3",))):
        if ebs.get(name) is not None and changed["VolumeType"] not in kinds:
            raise EC2ClientError(
                "InvalidBlockDeviceMapping",
                f"{name.lower()} cannot be specified with the volumeType of device '{device}'",
            )
    if int(changed["VolumeSize"]) < int(root["VolumeSize"]):
        raise EC2ClientError(
            "InvalidBlockDeviceMapping",
            f"Volume of size {changed['VolumeSize']}GB is smaller than snapshot '{root['SnapshotId']}', "
            f"expect size>= {root['VolumeSize']}GB",
        )
    return changed


def settled(backend, root):
    """The settings of a volume to be made, with what AWS fills in, and its key."""
    root = dict(root)
    if root.get("KmsKeyId") and not root.get("Encrypted"):
        raise InvalidParameterDependency("KmsKeyId", "Encrypted")
    root["Encrypted"] = bool(root.get("Encrypted")) or backend.ebs_encryption_by_default
    if root["Encrypted"]:
        named = root.get("KmsKeyId")
        root["KmsKeyId"] = key_arn(backend, named) if named else default_key(backend)
        if root["KmsKeyId"] is None:
            raise EC2ClientError(
                "UnsupportedOperation",
                f"the rehearsal launches nothing with the key {named}, which is not there or can't encrypt: "
                "AWS terminates such an instance soon after its launch",
            )
    if root["VolumeType"] in ("io1", "io2") and not root.get("Iops"):
        raise InvalidParameterDependency("VolumeType", "Iops")
    if root["VolumeType"] == "gp3":
        root["Iops"] = int(root.get("Iops") or GP3_IOPS)
        root["Throughput"] = int(root.get("Throughput") or GP3_THROUGHPUT)
        if root["Throughput"] > root["Iops"] * 0.25:
            raise EC2ClientError(
                "InvalidParameterCombination",
                f"Throughput (MiBps) to iops ratio of {root['Throughput'] / root['Iops']:.6f} is too high; "
                "maximum is 0.250000 MiBps per iops",
            )
    return root


def root_wanted(backend, image, mappings):
    """The root volume of an instance of `image`, given the mappings of its launch, the later ones before the earlier."""
    root, root_device = dict(image.root), image.root_device_name
    for mapping in mappings:
        if mapping.get("DeviceName") != root_device:
            raise EC2ClientError(
                "UnsupportedOperation",
                f"the rehearsal's instances have a root volume only, {root_device}: nothing stands behind "
                f"{mapping.get('DeviceName')}",
            )
        named = (mapping.get("Ebs") or {}).get("SnapshotId")
        if mapping.get("NoDevice") is not None or mapping.get("VirtualName") or named not in (None, root["SnapshotId"]):
            raise EC2ClientError("UnsupportedOperation", "the rehearsal boots from the image's own root volume only")
        root = laid_over(root, mapping)
    if not root.get("KmsKeyId") and root["Encrypted"]:
        # A volume of an encrypted snapshot has its key, unless another is named.
        snapshot = backend.snapshots.get(root["SnapshotId"])
        root["KmsKeyId"] = snapshot and snapshot.kms_key_id
    return settled(backend, root)


def give_root(backend, instance, root, tags):
    volume = backend.create_volume(
        size=int(root["VolumeSize"]),
        zone_name=instance._placement.zone,
        encrypted=root["Encrypted"],
        kms_key_id=root.get("KmsKeyId"),
        volume_type=root["VolumeType"],
        iops=root.get("Iops") and int(root["Iops"]),
        throughput=root.get("Throughput") and int(root["Throughput"]),
    )
    volume.snapshot_id = root["SnapshotId"]
    volume.add_tags(tags)
    device = instance.root_device_name
    backend.attach_volume(volume.id, instance.id, device, bool(root["DeleteOnTermination"]))


def template_of(backend, kwargs):
    named = kwargs.get("launch_template")
    return backend._get_template_from_args(named).data if named else {}


launch = InstanceBackend.run_instances


def launch_with_roots(self, image_id, count, user_data, security_group_names, **kwargs):
    template = template_of(self, kwargs)
    asked = kwargs.pop("block_device_mappings", None) or []
    configured = kwargs.get("launch_config")
    below = template.get("BlockDeviceMappings") or []
    if configured:
        below = configured.block_device_mapping_dict or []
    images = self.describe_images(ami_ids=[image_id or template.get("ImageId")])
    if not images:
        raise EC2ClientError("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is no longer available")
    # Before anything is made: a mapping that is refused leaves no instance.
    root = root_wanted(self, images[0], [*below, *asked])
    tags = convert_tag_spec(template.get("TagSpecifications", [])).get("volume", {})
    tags = {**tags, **kwargs.get("tags", {}).get("volume", {})}
    if images[0].imds_support == "v2.0":
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-IMDS-new-instances.html
        options = {**(template.get("MetadataOptions") or {}), **(kwargs.get("metadata_options") or {})}
        kwargs["metadata_options"] = {"HttpTokens": "required", "HttpPutResponseHopLimit": 2, **options}
    # With a mapping, moto makes no root volume of its own; with an empty one it makes none at all.
    reservation = launch(
        self, image_id, count, user_data, security_group_names, block_device_mappings=[], **kwargs
    )
    for instance in reservation.instances:
        give_root(self, instance, root, tags)
    return reservation


InstanceBackend.run_instances = launch_with_roots
# Moto drops the throughput, and refuses a mapping without size or snapshot, which is one of the image's root.
InstanceResponse._parse_block_device_mapping = lambda self: self._get_param("BlockDeviceMappings", [])


def get_ebs_default_kms_key_id(self):
    self.error_on_dryrun()
    return ActionResult({"KmsKeyId": self.ec2_backend.default_kms_key_id or DEFAULT_KEY})


def reset_ebs_default_kms_key_id(self):
    self.error_on_dryrun()
    self.ec2_backend.default_kms_key_id = ""
    return ActionResult({"KmsKeyId": managed_key(self.ec2_backend)})


for action in (get_ebs_default_kms_key_id, reset_ebs_default_kms_key_id):
    setattr(ElasticBlockStore, action.__name__, action)
