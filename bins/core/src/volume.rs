//! The root volume of an instance that is thrown away, and so of the image that is made of it.

use aws_sdk_ec2::types::{BlockDeviceMapping, EbsBlockDevice, VolumeType};

use crate::config::image::Volume;

/// A root volume as it is asked for at launch. Encrypted there, an image has an encrypted snapshot without being copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootVolume {
    /// The root device of the image: the mapping of any other name would be one more volume.
    pub device: String,
    /// Its layout; what is left out is as the image has it.
    pub layout: Volume,
    /// Whether it is encrypted, whatever the image's snapshot is.
    pub encrypted: bool,
    /// The KMS key, by id, alias or ARN; the region's default key for EBS, if none is named.
    pub kms_key: Option<String>,
}

impl RootVolume {
    /// In one line, for a fingerprint: `gp3, 20 GiB, 6000 iops, 500 MiB/s, encrypted by alias/x`.
    #[must_use]
    pub fn describe(&self) -> String {
        let Volume { size, kind, iops, throughput } = &self.layout;
        let mut parts: Vec<String> = kind.iter().cloned().collect();
        parts.extend(size.map(|size| format!("{size} GiB")));
        parts.extend(iops.map(|iops| format!("{iops} iops")));
        parts.extend(throughput.map(|throughput| format!("{throughput} MiB/s")));
        if parts.is_empty() {
            parts.push("as the base has it".to_owned());
        }
        parts.extend(self.encrypted.then(|| match &self.kms_key {
            Some(key) => format!("encrypted by {key}"),
            None => "encrypted".to_owned(),
        }));
        parts.join(", ")
    }

    /// The mapping of RunInstances.
    #[must_use]
    pub fn mapping(&self) -> BlockDeviceMapping {
        let Volume { size, kind, iops, throughput } = &self.layout;
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let ebs = EbsBlockDevice::builder()
            .delete_on_termination(true)
            .set_volume_size(size.map(number))
            .set_volume_type(kind.as_deref().map(VolumeType::from))
            .set_iops(iops.map(number))
            .set_throughput(throughput.map(number))
            // Not `false`: of an encrypted snapshot that can't be asked for.
            .set_encrypted(self.encrypted.then_some(true))
            .set_kms_key_id(self.kms_key.clone())
            .build();
        BlockDeviceMapping::builder().device_name(&self.device).ebs(ebs).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_described_by_what_was_asked_for() {
        let root = |layout: Volume, encrypted: bool, key: Option<&str>| RootVolume {
            device: "/dev/xvda".to_owned(),
            layout,
            encrypted,
            kms_key: key.map(str::to_owned),
        };
        let layout = Volume { size: Some(20), kind: Some("gp3".to_owned()), iops: Some(6000), throughput: Some(500) };
        let described = root(layout, true, Some("alias/x")).describe();
        assert_eq!(described, "gp3, 20 GiB, 6000 iops, 500 MiB/s, encrypted by alias/x");
        assert_eq!(root(Volume::default(), true, None).describe(), "as the base has it, encrypted");
        let plain = root(Volume::default(), false, None);
        assert_eq!(plain.describe(), "as the base has it");
        assert_eq!(plain.mapping().ebs().and_then(EbsBlockDevice::encrypted), None);
    }
}
