//! A release: built, made into one file, and put where nothing overwrites it.

use std::path::{Path, PathBuf};

use gyron_core::archive::{self, Compression, Sealed};
use gyron_core::config::schema::Package;
use gyron_core::console::bytes;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::program::Program;
use gyron_core::records;
use gyron_core::registry::{Put, Registry};
use gyron_core::step::{Context, Phase};
use gyron_core::version::{self, Version};

/// Packages the app: build, archive or artifact, upload, record.
pub(crate) async fn package(context: &Context, given: Option<&str>) -> Result<()> {
    let config = &context.config;
    let settings = config.package()?;
    let version = Version::derive(&config.root, given, &context.stop).await?;
    if context.plan {
        return context.show_plan(&plan(settings, &version, config.app(), &config.tables.bucket));
    }
    context.console.say(format!("package {} {}", config.app(), version.name));
    if version.dirty {
        context
            .console
            .say("  the work tree differs from its commit: this version can't go to a protected environment");
    }
    let mut phase = Phase::begin(&context.console);
    if let Some(command) = &settings.build {
        build(context, command).await?;
        phase.done(format!("built: {command}"));
    }
    let scratch = tempfile::tempdir().or_fail(|| Failure::defect("no temporary folder can be made"))?;
    let file = make(context, settings, &version, scratch.path()).await?;
    phase.done(format!("{} of {}, sha256 {}", file.name, bytes(file.sealed.size), file.sealed.sha256.short()));

    let aws = context.aws().await;
    let registry = context.registry(&aws);
    let release = upload(&registry, &version, &file).await?;
    let place = format!("s3://{}/{}", registry.bucket(), release.key);
    phase.done(format!("released to {place}"));
    context.record(&registry, &version, None, records::Package { release }, &place).await?;
    Ok(())
}

fn plan(settings: &Package, version: &Version, app: &str, bucket: &str) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(settings.build.as_ref().map(|command| format!("run `{command}`")));
    lines.push(match &settings.artifact {
        Some(artifact) => format!("take {artifact} as it is"),
        None => format!("make a reproducible archive of {}", settings.include.join(", ")),
    });
    lines.push(format!("put it to s3://{bucket}/{app}/releases/{}/, unless it is there", version.name));
    lines
}

async fn build(context: &Context, command: &str) -> Result<()> {
    let shell = Program::find("sh", "a POSIX shell runs package.build")?;
    let shell = shell.args(["-c", command]).folder(&context.config.root);
    shell
        .succeed(&context.stop, |_, line| context.console.say(format!("  | {line}")))
        .await
        .map_err(|failure| failure.hint(format!("`{command}` is package.build of gyron.toml: run it by hand")))
}

/// The one file that is the release.
struct File {
    path: PathBuf,
    name: String,
    sealed: Sealed,
    archive: bool,
}

async fn make(context: &Context, settings: &Package, version: &Version, scratch: &Path) -> Result<File> {
    let root = &context.config.root;
    if let Some(artifact) = &settings.artifact {
        let path = root.join(artifact);
        let sealed = archive::seal(&path).or_fail(|| {
            let failure = Failure::usage(format!("the artifact {artifact} can't be read"));
            match &settings.build {
                Some(command) => failure.hint(format!("`{command}` was to make it: does it write it there?")),
                None => failure.hint("package.artifact is relative to gyron.toml; package.build may make it"),
            }
        })?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("artifact").to_owned();
        return Ok(File { path, name, sealed, archive: false });
    }
    let time = version::commit_time(root, version, &context.stop).await?;
    let files = archive::matching(root, &settings.include, "package.include", "does the build make these files?")?;
    let name = format!("{}.tar.zst", context.config.app());
    let path = scratch.join(&name);
    let sealed = archive::write(root, &files, time, Compression::Zstd, &path)?;
    Ok(File { path, name, sealed, archive: true })
}

async fn upload(registry: &Registry, version: &Version, file: &File) -> Result<records::Release> {
    let folder = registry.key(&format!("releases/{}", version.name));
    let key = format!("{folder}/{}", file.name);
    match registry.put_once(&key, &file.path, &file.sealed.sha256).await? {
        Put::New | Put::Same => {}
        Put::Other(there) => {
            let there = there.as_deref().and_then(|digest| digest.get(..12)).unwrap_or("unknown").to_owned();
            return Err(Failure::refused(format!(
                "version {} has already been released with other content",
                version.name
            ))
            .detail(format!("  there: sha256 {there}\n  here:  sha256 {}", file.sealed.sha256.short()))
            .already(format!("s3://{}/{key} is as it was: a release is never overwritten", registry.bucket()))
            .hint("commit, or name another version with --release"));
        }
    }
    Ok(records::Release {
        key,
        file: file.name.clone(),
        sha256: file.sealed.sha256.clone(),
        size: file.sealed.size,
        archive: file.archive,
    })
}
