//! `prepare`: what the owner of an AWS account has before gyron comes: the bucket and the instance profiles of an app.

use std::collections::BTreeSet;
use std::path::Path;

use gyron_core::config::Config;
use gyron_core::failure::Result;

use super::env::for_a_child;
use super::say;
use crate::cloud::Cloud;
use crate::install::tool::Tool;
use crate::install::venv;

/// Makes what the gyron.toml in `folder` names and the cloud lacks.
pub async fn run(cloud: &Cloud, folder: &Path) -> Result<()> {
    let config = Config::find(folder, None, &[])?;
    let tables = &config.tables;
    if aws(cloud, &["s3api", "head-bucket", "--bucket", &tables.bucket]).await.is_err() {
        aws(cloud, &["s3", "mb", &format!("s3://{}", tables.bucket), "--region", &tables.region]).await?;
        say(&format!("  bucket {}", tables.bucket));
    }
    let profiles: BTreeSet<&str> = [
        tables.bake.as_ref().map(|bake| bake.instance_profile.as_str()),
        tables.launch.as_ref().map(|launch| launch.instance_profile.as_str()),
    ]
    .into_iter()
    .flatten()
    .collect();
    for name in profiles {
        if aws(cloud, &["iam", "get-instance-profile", "--instance-profile-name", name]).await.is_ok() {
            continue;
        }
        // What any role of instances says: EC2 may take it on.
        let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
        for call in [
            &["iam", "create-role", "--role-name", name, "--assume-role-policy-document", trust][..],
            &["iam", "create-instance-profile", "--instance-profile-name", name],
            &["iam", "add-role-to-instance-profile", "--instance-profile-name", name, "--role-name", name],
        ] {
            made_or_there(aws(cloud, call).await)?;
        }
        say(&format!("  instance profile {name}"));
    }
    Ok(())
}

/// Another app's `prepare` may be at the same profile; a profile takes one role, which IAM counts as a limit.
fn made_or_there(made: Result<String>) -> Result<()> {
    match made {
        Err(failure)
            if !["EntityAlreadyExists", "LimitExceeded"].iter().any(|code| failure.report().contains(code)) =>
        {
            Err(failure)
        }
        _ => Ok(()),
    }
}

async fn aws(cloud: &Cloud, args: &[&str]) -> Result<String> {
    let mut tool = Tool::new(venv::programs(&cloud.cache).join("aws")).args(args);
    for (name, value) in for_a_child(cloud) {
        tool = tool.env(name, value);
    }
    tool.run().await
}
