//! The two Terraform modules that are built in.

/// A module: its files' names and texts.
#[derive(Debug)]
pub struct Module(pub &'static [(&'static str, &'static str)]);

macro_rules! module {
    ($folder:literal: $($file:literal),*) => {
        Module(&[$(($file, include_str!(concat!("../modules/", $folder, "/", $file)))),*])
    };
}

/// The edge of an environment: what stays while releases come and go.
pub static EDGE: Module = module!("edge": "terraform.tf", "variables.tf", "security_groups.tf", "target_groups.tf",
    "balancer.tf", "outputs.tf");

/// One colour: a launch template and a group of one release.
pub static COLOUR: Module = module!("colour": "terraform.tf", "variables.tf", "group.tf", "outputs.tf");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{COLOUR, EDGE};

    #[test]
    fn every_file_of_a_module_is_embedded() {
        for (folder, module) in [("edge", &EDGE), ("colour", &COLOUR)] {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("modules").join(folder);
            let mut there: Vec<_> =
                std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            let mut embedded: Vec<_> = module.0.iter().map(|(name, _)| std::ffi::OsString::from(name)).collect();
            there.sort();
            embedded.sort();
            assert_eq!(embedded, there);
        }
    }
}
