//! `up` and `setup`: all that a cloud stands on, then the cloud.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use gyron_core::failure::{Failure, OrFail, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{daemon, env, exec, flag, patiently, say};
use crate::base_image;
use crate::bodies::Bodies;
use crate::bodies::podman::Podman;
use crate::cloud::Cloud;
use crate::install::{self, terraform, venv};
use crate::network::{self, Machine};

/// Brings the cloud up; with one up already, makes what lacks.
///
/// # Errors
/// What could not be made; typed again it goes on from there.
pub async fn run(name: &str, region: &str) -> Result<()> {
    install::as_root("up")?;
    let home = Cloud::home_of(name)?;
    let cache = Cloud::shared_cache()?;
    std::fs::create_dir_all(&home).or_fail(|| Failure::program(format!("can't make {}", home.display())))?;
    let _alone = lock(&home.join("lock"), "up for this cloud").await?;
    patiently("still preparing", prepare(&cache)).await?;

    let cloud = claim(name, region, &home, &cache).await?;
    write_files(&cloud)?;
    daemon::ensure(&cloud).await?;
    say(&format!("cloud {name} is up at {}", cloud.endpoint_url()));
    say(&format!("  eval \"$(gyron-rehearse{} env)\"   points this shell at it", flag(name)));
    Ok(())
}

/// Installs and builds what any cloud stands on.
///
/// # Errors
/// What could not be installed, with the command that does it.
pub async fn setup() -> Result<()> {
    install::as_root("setup")?;
    patiently("still preparing", prepare(&Cloud::shared_cache()?)).await?;
    say("all that a cloud needs is there");
    Ok(())
}

async fn prepare(cache: &Path) -> Result<()> {
    std::fs::create_dir_all(cache).or_fail(|| Failure::program(format!("can't make {}", cache.display())))?;
    // Two clouds that come up at once share what this makes.
    let _alone = lock(&cache.join("lock"), "preparing the same cache").await?;
    install::packages(say).await?;
    venv::ensure(cache, say).await?;
    terraform::ensure(cache, say).await?;
    Podman::of(cache).configure().await?;
    base_image::bare(cache, say).await?;
    let folder = cache.join("agent");
    let package = tokio::task::spawn_blocking(move || crate::ssm::agent::package(&folder))
        .await
        .or_fail(|| Failure::defect("can't make the agent's package"))??;
    base_image::with_agent(cache, &package, say).await
}

/// The cloud of this home with its network: the one that stands, or a new one.
async fn claim(name: &str, region: &str, home: &Path, cache: &Path) -> Result<Cloud> {
    let machine = Machine::hold().await?;
    let known = Cloud::load(home)?;
    if let Some(cloud) = &known
        && network::is_claimed(cloud.number, home)
    {
        if cloud.region != region {
            return Err(Failure::refused(format!("cloud {name} is up in {}, not {region}", cloud.region))
                .hint(format!("gyron-rehearse{} down, then up --region {region}", flag(name))));
        }
        network::make(&machine, cloud).await?;
        return Ok(cloud.clone());
    }
    let number = network::claim(&machine, home, known.map(|cloud| cloud.number)).await?;
    let cloud = Cloud {
        name: name.into(),
        number,
        region: region.into(),
        home: home.into(),
        cache: cache.into(),
        moto_port: free_port()?,
    };
    cloud.save()?;
    // What a cloud before the machine's last restart left under this number.
    Bodies::new(&cloud).clear().await?;
    for left in ["calls.jsonl", "serve.log"] {
        let _ = std::fs::remove_file(home.join(left));
    }
    let _ = std::fs::remove_dir_all(home.join("consoles"));
    network::make(&machine, &cloud).await?;
    Ok(cloud)
}

fn write_files(cloud: &Cloud) -> Result<()> {
    let files = [
        (cloud.home.join("aws.env"), env::exports(cloud, &env::own_folder(), false)),
        (cloud.home.join("terraform.rc"), terraform::configuration(&terraform::find_mirrors())),
        (exec::resolver_file(cloud), format!("nameserver {}\n", cloud.endpoint_address())),
    ];
    contexts(cloud)?;
    for (at, content) in files {
        // In place: a step that runs has the resolver's file mounted.
        let same = std::fs::read_to_string(&at).is_ok_and(|found| found == content);
        if !same {
            std::fs::write(&at, content).or_fail(|| Failure::program(format!("can't write {}", at.display())))?;
        }
    }
    Ok(())
}

/// The contexts of CI's jobs, for a person to add to: `aws` has the cloud's keys.
fn contexts(cloud: &Cloud) -> Result<()> {
    let at = cloud.contexts();
    if at.exists() {
        return Ok(());
    }
    let text = format!(
        "# The contexts that jobs of `gyron-rehearse ci run` can ask for: a table each.\n\n[aws]\n\
         AWS_ACCESS_KEY_ID = \"{}\"\nAWS_SECRET_ACCESS_KEY = \"{}\"\n",
        cloud.access_key_id(),
        cloud.secret_access_key()
    );
    std::fs::write(&at, text).or_fail(|| Failure::program(format!("can't write {}", at.display())))
}

fn free_port() -> Result<u16> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    Ok(port.or_fail(|| Failure::program("can't find a free port on loopback"))?.port())
}

/// Waits until no other gyron-rehearse is at it.
async fn lock(at: &Path, doing: &str) -> Result<Flock<File>> {
    let broken = || Failure::program(format!("can't lock {}", at.display()));
    let mut file = File::create(at).or_fail(broken)?;
    let mut told = false;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, errno)) => return Err(broken().because(std::io::Error::from(errno))),
        };
        if !told {
            say(&format!("waiting for another gyron-rehearse that is {doing}"));
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
