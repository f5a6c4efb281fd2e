//! Packer on the rehearsal cloud: another's tool, made for AWS, that must not be able to tell the difference.

use gyron_tests::App;
use gyron_tests::cloud::Cloud;

/// Asks for nearly all that the amazon-ebs builder can: each setting is a call or a filter.
const TEMPLATE: &str = r#"
variable "endpoint" { type = string }

source "amazon-ebs" "rich" {
  region              = "us-east-1"
  custom_endpoint_ec2 = var.endpoint
  instance_type       = "t3.small"
  source_ami_filter {
    owners      = ["136693071363"]
    most_recent = true
    filters     = { name = "debian-12-amd64-*", root-device-type = "ebs", virtualization-type = "hvm" }
  }
  vpc_filter {
    filters = { isDefault = "true" }
  }
  subnet_filter {
    filters   = { default-for-az = "true" }
    most_free = true
  }
  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 12
    delete_on_termination = true
  }
  ena_support           = true
  ssh_username          = "debian"
  ssh_interface         = "private_ip"
  ami_name              = "packer-rich"
  ami_description       = "Packer was here"
  ami_users             = ["210987654321"]
  snapshot_users        = ["210987654321"]
  force_deregister      = true
  force_delete_snapshot = true
  run_tags              = { Name = "packer-rich" }
  run_volume_tags       = { Name = "packer-rich" }
  snapshot_tags         = { Name = "packer-rich", empty = "" }
  tags                  = { Name = "packer-rich", base = "{{ .SourceAMIName }}" }
}

build {
  sources = ["source.amazon-ebs.rich"]
  provisioner "shell" {
    inline = ["sudo sh -c 'id -un > /srv/by'", "cut -d ' ' -f 1,3 ~/.ssh/authorized_keys"]
  }
}
"#;

/// Where the template names none, Packer sends an empty subnet, zone and profile.
const PLAIN: &str = r#"
variable "endpoint" { type = string }

source "amazon-ebs" "plain" {
  region                     = "us-east-1"
  custom_endpoint_ec2        = var.endpoint
  skip_region_validation     = true
  skip_credential_validation = true
  source_ami                 = "ami-0deb1200000000001"
  instance_type              = "t3.small"
  ssh_username               = "debian"
  ssh_interface              = "private_ip"
  ami_name                   = "packer-plain"
  run_tags                   = { Name = "packer-plain" }
}

build {
  sources = ["source.amazon-ebs.plain"]
  provisioner "shell" {
    inline = ["exit 7"]
  }
}
"#;

fn build(cloud: &Cloud, template: &str) -> (Option<i32>, String) {
    let app = App::empty();
    app.write("image.pkr.hcl", template);
    let endpoint = format!("endpoint=http://{}", cloud.endpoint());
    let mut command = cloud.rehearse(&["exec", "--in-vpc", "--", "packer", "build", "-color=false", "-var", &endpoint]);
    command.arg("image.pkr.hcl").current_dir(app.path());
    command.env("CHECKPOINT_DISABLE", "1").env("AWS_POLL_DELAY_SECONDS", "1").env("HOME", app.path());
    // gyron-rehearse itself needs to know where its clouds are.
    for (variable, below) in [("XDG_STATE_HOME", ".local/state"), ("XDG_CACHE_HOME", ".cache")] {
        let home = std::path::PathBuf::from(std::env::var_os("HOME").unwrap());
        command.env(variable, std::env::var_os(variable).unwrap_or_else(|| home.join(below).into()));
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

/// What Packer makes for a build only.
fn temporary(cloud: &Cloud, name: &str) -> Vec<String> {
    let mut left = cloud.select(&["ec2", "describe-key-pairs"], "KeyPairs[?starts_with(KeyName, 'packer_')].KeyName");
    left.extend(
        cloud.select(
            &["ec2", "describe-security-groups"],
            "SecurityGroups[?starts_with(GroupName, 'packer_')].GroupName",
        ),
    );
    let filters = [&format!("Name=tag:Name,Values={name}"), "Name=instance-state-name,Values=pending,running,stopped"];
    left.extend(cloud.select(
        &[&["ec2", "describe-instances", "--filters"][..], &filters.map(|filter| filter as &str)].concat(),
        "Reservations[].Instances[].InstanceId",
    ));
    left.into_iter().collect()
}

#[test]
fn packer_bakes_an_image_and_can_not_tell_the_cloud_from_aws() {
    let cloud = Cloud::of_tests();
    let (code, said) = build(&cloud, TEMPLATE);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ssh-rsa packer_"), "the key of the launch is the user's: {said}");

    let image = &cloud.aws(&[
        "ec2",
        "describe-images",
        "--owners",
        "self",
        "--filters",
        "Name=name,Values=packer-rich",
    ])["Images"][0];
    let id = image["ImageId"].as_str().unwrap();
    assert!(said.contains(&format!("us-east-1: {id}")), "{said}");
    let tags = image["Tags"].to_string();
    assert!(tags.contains("debian-12-amd64-20260101-1"), "{tags}");
    let shared = ["ec2", "describe-image-attribute", "--image-id", id, "--attribute", "launchPermission"];
    assert_eq!(cloud.aws(&shared)["LaunchPermissions"][0]["UserId"], "210987654321");
    let snapshots = ["ec2", "describe-snapshots", "--filters", "Name=tag:Name,Values=packer-rich"];
    assert_eq!(cloud.select(&snapshots, "Snapshots[].SnapshotId").len(), 1);

    // The same again takes the image of that name away first.
    let (code, said) = build(&cloud, TEMPLATE);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Deregistered AMI packer-rich") && said.contains("Deleted snapshot: "), "{said}");
    let named = ["ec2", "describe-images", "--owners", "self", "--filters", "Name=name,Values=packer-rich"];
    let left: Vec<String> = cloud.select(&named, "Images[].ImageId").into_iter().collect();
    assert!(left.len() == 1 && left[0] != id, "{left:?}");
    assert_eq!(cloud.select(&snapshots, "Snapshots[].SnapshotId").len(), 1);

    // A build that fails leaves nothing either.
    let (code, said) = build(&cloud, PLAIN);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Script exited with non-zero exit status: 7"), "{said}");
    assert_eq!([temporary(&cloud, "packer-rich"), temporary(&cloud, "packer-plain")].concat(), Vec::<String>::new());
}
