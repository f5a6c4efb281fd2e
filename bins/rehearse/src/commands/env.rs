//! `env`: what points every AWS tool at the cloud.

use std::ffi::OsString;
use std::path::Path;

use gyron_core::failure::Result;

use crate::cloud::Cloud;
use crate::install::venv;

/// Prints `export` lines for a shell to evaluate.
pub fn run(cloud: &Cloud) -> Result<()> {
    anstream::print!("{}", exports(cloud, &own_folder(), proxied()));
    Ok(())
}

/// The `export` lines. PATH is put before what the shell has, each time it evaluates them.
pub fn exports(cloud: &Cloud, own: &Path, proxied: bool) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut text = format!("unset {}\n", FOREIGN.join(" "));
    for (name, value) in variables(cloud) {
        text.push_str(&format!("export {name}={}\n", quote(&value)));
    }
    if proxied {
        let own = exceptions(cloud);
        text.push_str(&format!(
            "export NO_PROXY=\"${{NO_PROXY:+$NO_PROXY,}}\"{0}\nexport no_proxy=\"$NO_PROXY\"\n",
            quote(&own)
        ));
    }
    let folders = format!("{}:{}", venv::programs(&cloud.cache).display(), own.display());
    text.push_str(&format!("export PATH={}:\"$PATH\"\n", quote(&folders)));
    text
}

/// What of a person's real account would go before the cloud's keys, or with them. Unset: an empty profile is an error.
pub const FOREIGN: [&str; 4] =
    ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"];

/// The variable that names the access key.
pub const KEY: &str = "AWS_ACCESS_KEY_ID";

/// Whether an access key that was set outside may sign a child's calls, so that they can be told from others'. All else stays
/// the cloud's, the secret among it: moto takes any key, and no key of a real account is of use with a made-up secret.
#[must_use]
pub fn may_sign(key: &str) -> bool {
    key.len() == 20 && key.starts_with("AKIA") && key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// The same as variables for a child: names with their whole values.
pub fn for_a_child(cloud: &Cloud) -> Vec<(String, OsString)> {
    let mut all: Vec<(String, OsString)> =
        variables(cloud).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    if proxied() {
        let known = ["NO_PROXY", "no_proxy"].iter().find_map(|name| std::env::var(name).ok());
        let list = known.into_iter().chain([exceptions(cloud)]).collect::<Vec<_>>().join(",");
        all.extend(["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), list.clone().into())));
    }
    let mut path = OsString::from(venv::programs(&cloud.cache));
    for folder in [own_folder().into_os_string(), std::env::var_os("PATH").unwrap_or_default()] {
        path.push(":");
        path.push(folder);
    }
    all.push(("PATH".into(), path));
    all
}

fn variables(cloud: &Cloud) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", cloud.endpoint_url()),
        // For Terraform's S3 backend, which takes a role by a web identity: it reads the general one for S3 alone.
        ("AWS_ENDPOINT_URL_STS", cloud.endpoint_url()),
        (KEY, cloud.access_key_id()),
        ("AWS_SECRET_ACCESS_KEY", cloud.secret_access_key()),
        ("AWS_REGION", cloud.region.clone()),
        ("AWS_DEFAULT_REGION", cloud.region.clone()),
        ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ("TF_CLI_CONFIG_FILE", cloud.home.join("terraform.rc").display().to_string()),
        ("GYRON_CLOUD", cloud.name.clone()),
    ]
}

/// What no proxy is asked for: not every tool reads a network, so the endpoint is named as well.
fn exceptions(cloud: &Cloud) -> String {
    format!("{},198.18.{}.0/24", cloud.endpoint_address(), cloud.number)
}

fn proxied() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"].into_iter().any(set)
}

/// The folder of gyron's own programs.
pub fn own_folder() -> std::path::PathBuf {
    let own = std::env::current_exe().ok();
    own.as_deref().and_then(Path::parent).unwrap_or(Path::new("/usr/local/bin")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_a_shells() {
        let cloud = Cloud {
            name: "t".into(),
            number: 9,
            region: "eu-west-1".into(),
            home: "/h o/it's".into(),
            cache: "/c".into(),
            moto_port: 1,
        };
        let text = exports(&cloud, Path::new("/b"), true);
        for line in [
            "export AWS_ENDPOINT_URL='http://198.18.9.1:4566'\n",
            "export AWS_REGION='eu-west-1'\n",
            "export AWS_EC2_METADATA_DISABLED='true'\n",
            "export TF_CLI_CONFIG_FILE='/h o/it'\\''s/terraform.rc'\n",
            "export NO_PROXY=\"${NO_PROXY:+$NO_PROXY,}\"'198.18.9.1,198.18.9.0/24'\n",
            "export PATH='/c/bin:/b':\"$PATH\"\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!exports(&cloud, Path::new("/b"), false).contains("PROXY"));
    }

    #[test]
    fn only_what_looks_like_an_access_key_is_taken_from_outside() {
        for (key, taken) in
            [("AKIAIOSFODNN7EXAMPLE", true), ("ASIAIOSFODNN7EXAMPLE", false), ("", false), ("test", false)]
        {
            assert_eq!(may_sign(key), taken, "{key}");
        }
    }
}
