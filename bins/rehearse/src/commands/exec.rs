//! `exec`: a command where the steps run.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use gyron_core::failure::{Failure, OrFail, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::{env, flag};
use crate::cloud::Cloud;
use crate::install;

/// Folders through which a program may ask the host's resolver past resolv.conf: systemd-resolved's and nscd's.
const OTHER_RESOLVERS: [&str; 2] = ["/run/systemd/resolve", "/run/nscd"];

/// Becomes the command, in the steps' network or that of the instances, and with a resolver that knows the cloud's names:
/// signals and exit code are the command's own.
///
/// # Errors
/// Where the cloud's network is not there, or the command can't be run.
pub fn run(cloud: &Cloud, in_vpc: bool, command: &[OsString]) -> Result<()> {
    install::as_root("exec")?;
    if in_vpc {
        enter_network(cloud, &cloud.instances_netns())?
    } else {
        enter(cloud)?
    }
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::usage("no command given"));
    };
    let mut variables = env::for_a_child(cloud);
    if let Some(key) = std::env::var(env::KEY).ok().filter(|key| env::may_sign(key)) {
        variables.retain(|(name, _)| name != env::KEY);
        variables.push((env::KEY.to_owned(), key.into()));
    }
    let path = variables.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.clone());
    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let program_path = which::which_in(program, path, here)
        .or_fail(|| Failure::program(format!("can't find {}", program.display())))?;
    let mut child = Command::new(program_path);
    child.arg0(program).args(arguments).envs(variables);
    for name in env::FOREIGN {
        child.env_remove(name);
    }
    let error = child.exec();
    Err(Failure::program(format!("can't run {}", program.display())).because(error))
}

/// Moves this thread, and what it will start, into the steps' network with a resolver that knows the cloud's names. Before
/// any other thread is started: a namespace is entered by a thread.
///
/// # Errors
/// Where the cloud's network is not there.
pub fn enter(cloud: &Cloud) -> Result<()> {
    enter_network(cloud, &cloud.steps_netns())
}

fn enter_network(cloud: &Cloud, name: &str) -> Result<()> {
    let namespace = Path::new("/run/netns").join(name);
    let network = File::open(&namespace).or_fail(|| {
        Failure::refused(format!("the network of cloud {} is not there", cloud.name))
            .hint(format!("gyron-rehearse{} up   mends a cloud", flag(&cloud.name)))
    })?;
    let broken = || Failure::program(format!("can't enter the network of cloud {}", cloud.name));
    setns(network, CloneFlags::CLONE_NEWNET).map_err(io::Error::from).or_fail(broken)?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(io::Error::from).or_fail(broken)?;
    resolve_inside(&resolver_file(cloud)).or_fail(|| Failure::program("can't set the resolver of the steps"))
}

/// The steps' resolv.conf, which `up` writes.
pub fn resolver_file(cloud: &Cloud) -> std::path::PathBuf {
    cloud.home.join("resolv.conf")
}

fn resolve_inside(file: &Path) -> io::Result<()> {
    let none: Option<&str> = None;
    // From here on the host sees nothing of what is mounted.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    let real = std::fs::canonicalize("/etc/resolv.conf");
    for folder in OTHER_RESOLVERS.map(Path::new) {
        if folder.is_dir() {
            mount(Some("none"), folder, Some("tmpfs"), MsFlags::empty(), none)?;
        }
    }
    let real = real?;
    if !real.exists() {
        // It was in one of those folders.
        File::create(&real)?;
    }
    mount(Some(file), &real, none, MsFlags::MS_BIND, none)?;
    Ok(())
}
