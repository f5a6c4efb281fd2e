//! A bake from its beginning to its end, and back again where it fails.

use std::time::{Duration, Instant};

use aws_sdk_ec2::types::InstanceStateName;
use gyron_core::aws::Aws;
use gyron_core::config::schema::Bake;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::ids::{Digest, ImageId, InstanceId};
use gyron_core::instance::{self, Order};
use gyron_core::records::{self, Record, Step, write_atomically};
use gyron_core::registry::Registry;
use gyron_core::run_command;
use gyron_core::step::{Context, Phase};

use crate::base::{self, Found};
use crate::playbook::Playbook;
use crate::toolkit::{self, Toolkit};
use crate::{builder, image};

/// What a bake has made so far: undone in reverse where it fails.
#[derive(Debug, Default)]
struct Made {
    builder: Option<InstanceId>,
    image: Option<ImageId>,
    keys: Vec<String>,
    log: Option<String>,
}

/// What a bake works from.
struct Work<'a> {
    context: &'a Context,
    aws: &'a Aws,
    registry: &'a Registry,
    settings: &'a Bake,
    package: &'a Record<records::Package>,
    base: Found,
    playbook: Playbook,
    until: Instant,
}

/// Bakes the recorded release.
pub(crate) async fn bake(context: &Context) -> Result<()> {
    let config = &context.config;
    let settings = config.bake()?;
    let playbook = Playbook::read(&config.root, &settings.playbook)?;
    let package = context.records().read::<records::Package>()?;
    let aws = context.aws().await;
    let registry = context.registry(&aws);
    let base = base::find(&aws, &settings.base).await?;
    let version = &package.so.version;
    if context.plan {
        let known = registry.sha256(&toolkit::key(&registry, &base.architecture)).await?.is_some();
        return context.show_plan(&[
            if known {
                "use the Ansible toolkit in S3".to_owned()
            } else {
                "make the Ansible toolkit, once".to_owned()
            },
            format!("start a builder ({}) from {}, {}", settings.instance_types.join(" or "), base.id, base.name),
            format!("run {} (sha256 {}) with the release {}", settings.playbook, playbook.digest.short(), version.name),
            "clean up, stop the builder, make an image of it, terminate the builder".to_owned(),
        ]);
    }
    context.console.say(format!("bake {} {} on {} ({})", config.app(), version.name, base.id, base.name));
    let until = Instant::now() + settings.deadline.0;
    let work = Work { context, aws: &aws, registry: &registry, settings, package: &package, base, playbook, until };
    let mut made = Made::default();
    let baked = work.bake(&mut made).await;
    let undone = work.tidy(&mut made, baked.is_err()).await;
    let facts = match (baked, undone) {
        (Ok(facts), Ok(())) => facts,
        (Ok(facts), Err(failure)) => return Err(failure.already(format!("the image {} is there", facts.image))),
        (Err(failure), Ok(())) => return Err(failure.already("no instance and no image of this bake are left")),
        (Err(failure), Err(second)) => return Err(failure.already(second.message()).already(second.report())),
    };
    let short = facts.image.to_string();
    context.record(&registry, version, Some(&package.digest), facts, &short).await?;
    Ok(())
}

impl Work<'_> {
    async fn bake(&self, made: &mut Made) -> Result<records::Bake> {
        let (context, aws) = (self.context, self.aws);
        let mut phase = Phase::begin(&context.console);
        let toolkit = toolkit::find_or_make(context, self.registry, &self.base.architecture).await?;
        let order = self.order(&toolkit, made).await?;
        phase.done(format!("ready: {}, playbook, release", toolkit.name));

        let builder = instance::start(aws, &context.console, &self.instance()).await?;
        made.builder = Some(builder.clone());
        context.stop.check()?;
        let running = InstanceStateName::Running;
        instance::wait_for(aws, &context.console, &context.stop, &builder, &running, self.left()?).await?;
        run_command::agent_online(aws, &context.console, &context.stop, &builder, self.left()?).await?;
        phase.done(format!("builder {builder} is up"));

        let played = builder::play(context, aws, &builder, &order, self.left()?).await;
        let log = self.bring_log(made).await;
        played.map_err(|failure| match log {
            Some(path) => failure.hint(format!("the whole log is in {path}")),
            None => failure,
        })?;
        phase.done(format!("played {}", self.settings.playbook));

        builder::clean(context, aws, &builder).await?;
        image::stop_builder(context, aws, &builder, self.left()?).await?;
        phase.done("cleaned up and stopped");

        let version = &self.package.so.version;
        let name = format!("{}-{}-{}", context.config.app(), version.name, context.run);
        let more = vec![
            ("gyron:version".to_owned(), version.name.clone()),
            ("gyron:commit".to_owned(), version.commit.clone().unwrap_or_default()),
            ("gyron:base".to_owned(), self.base.id.to_string()),
        ];
        let image = image::create(aws, &builder, &name, &context.tags(Step::Bake, None, more)).await?;
        made.image = Some(image.clone());
        image::wait_available(context, aws, &image, self.left()?).await?;
        phase.done(format!("image {image}"));
        Ok(records::Bake {
            image,
            region: aws.region.clone(),
            base: self.base.id.clone(),
            playbook: self.playbook.digest.clone(),
            toolkit: toolkit.sha256,
        })
    }

    fn instance(&self) -> Order {
        let context = self.context;
        let lives = self.settings.deadline.0 + Duration::from_secs(600);
        Order {
            image: self.base.id.clone(),
            types: self.settings.instance_types.clone(),
            subnets: self.settings.subnets.clone(),
            security_groups: self.settings.security_groups.clone(),
            profile: self.settings.instance_profile.clone(),
            name: format!("gyron-bake {} {}", context.config.app(), self.package.so.version.name),
            tags: context.tags(Step::Bake, Some(lives), Vec::new()),
        }
    }

    /// Puts the playbook where the builder can fetch it, and writes down all that the builder is told.
    async fn order(&self, toolkit: &Toolkit, made: &mut Made) -> Result<builder::Order> {
        let (context, registry) = (self.context, self.registry);
        let scratch = tempfile::tempdir().or_fail(|| Failure::defect("no temporary folder can be made"))?;
        let file = scratch.path().join("playbook.tar.gz");
        let digest = self.playbook.archive(&file)?;
        let key = registry.key(&format!("runs/{}/playbook.tar.gz", context.run));
        made.keys.push(key.clone());
        registry.put_file(&key, &file).await?;
        let log = registry.key(&format!("runs/{}/ansible.log", context.run));
        made.keys.push(log.clone());
        made.log = Some(log.clone());

        let valid = self.left()? + Duration::from_secs(60);
        let release = &self.package.so.facts.release;
        let mut variables = self.settings.variables.clone();
        variables.insert("gyron_app".to_owned(), context.config.app().to_owned());
        variables.insert("gyron_version".to_owned(), self.package.so.version.name.clone());
        let fetched = async |what: &str, key: &str, sha256: &Digest| -> Result<builder::Fetched> {
            let url = registry.read_url(key, valid).await?;
            Ok(builder::Fetched { what: what.to_owned(), url, sha256: sha256.clone() })
        };
        Ok(builder::Order {
            python: toolkit::PYTHON,
            toolkit: fetched("the toolkit", &toolkit.key, &toolkit.sha256).await?,
            playbook: fetched("the playbook", &key, &digest).await?,
            release: builder::FetchedRelease {
                what: "the release".to_owned(),
                url: registry.read_url(&release.key, valid).await?,
                sha256: release.sha256.clone(),
                file: release.file.clone(),
                archive: release.archive,
            },
            file: self.playbook.file.clone(),
            variables,
            log: registry.write_url(&log, valid).await?,
            callback: builder::CALLBACK,
        })
    }

    /// Brings Ansible's whole log to `.gyron/logs/ansible.log`; a bake never fails for want of it.
    async fn bring_log(&self, made: &Made) -> Option<String> {
        let log = self.registry.bytes(made.log.as_deref()?).await.ok()??;
        let name = format!("{}/logs/ansible.log", records::FOLDER);
        let path = self.context.config.root.join(&name);
        write_atomically(path.parent()?, &path, &log).ok()?;
        Some(name)
    }

    /// Takes away what was only needed on the way, and where the bake failed, the image too.
    async fn tidy(&self, made: &mut Made, failed: bool) -> Result<()> {
        let (context, aws) = (self.context, self.aws);
        let mut phase = Phase::begin(&context.console);
        let mut first = Ok(());
        if let Some(image) = made.image.take()
            && failed
        {
            first = image::remove(aws, &image).await;
        }
        let terminated = image::terminate_builder(context, aws, &context.run, made.builder.as_ref()).await;
        first = first.and(terminated);
        for key in made.keys.drain(..) {
            first = first.and(self.registry.remove(&key).await);
        }
        if first.is_ok() {
            phase.done("builder terminated");
        }
        first
    }

    fn left(&self) -> Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::deadline(format!("the bake was not done after {}", self.settings.deadline))
                .hint("bake.deadline in gyron.toml says how long it may take"));
        }
        Ok(left)
    }
}
