//! One layer of an image: baked on the one below from its beginning to its end, and back again where it fails.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_sdk_ec2::types::InstanceStateName;
use gyron_core::agent;
use gyron_core::aws::Aws;
use gyron_core::config::schema::{self, Bake};
use gyron_core::exit::Exit;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::heartbeat::{self, Heartbeat};
use gyron_core::ids::{Digest, ImageId, InstanceId};
use gyron_core::instance::{self, Order};
use gyron_core::lease::Lease;
use gyron_core::records::{self, Record, Step};
use gyron_core::registry::Registry;
use gyron_core::step::{Context, Phase};
use gyron_core::volume::RootVolume;
use jiff::Timestamp;

use crate::base::Found;
use crate::fingerprint::Fingerprint;
use crate::known::TAG;
use crate::log::Log;
use crate::playbook::Playbook;
use crate::requirements::{Resolved, Wanted};
use crate::toolkit::{self, Toolkit};
use crate::{builder, image, packages, requirements, secrets, sighting};

/// Where a run's job, playbook and log lie while it bakes a layer.
pub(crate) fn folder(registry: &Registry, run: &str, layer: &str) -> String {
    registry.key(&format!("runs/{run}/{layer}"))
}

/// Where the chunks of its log lie.
pub(crate) fn log_folder(registry: &Registry, run: &str, layer: &str) -> String {
    format!("{}/log", folder(registry, run, layer))
}

/// What a bake has made so far: undone in reverse where it fails.
#[derive(Debug, Default)]
struct Made {
    builder: Option<InstanceId>,
    /// Whether its SSM agent has come.
    online: bool,
    /// Whether the builder has been stopped: nobody gets into it any more, and it can't end itself.
    stopped: bool,
    /// What tells the builder that its bake lives.
    heartbeat: Option<Heartbeat>,
    image: Option<ImageId>,
    /// Whether the image has been asked for, with whatever answer.
    asked: bool,
    /// The list of its packages.
    packages: bool,
    /// Objects in the run's folder.
    objects: bool,
    left: Left,
}

/// What is left of a bake that has been undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Left {
    #[default]
    Nothing,
    /// The builder, and perhaps an image, on purpose.
    Something,
}

/// What the builder is to run, where it can fetch it.
#[derive(Debug)]
struct Job {
    url: String,
    sha256: Digest,
}

/// What a layer is baked from.
pub(crate) struct Work<'a> {
    pub(crate) context: &'a Context,
    pub(crate) aws: &'a Aws,
    pub(crate) registry: &'a Registry,
    pub(crate) settings: &'a Bake,
    pub(crate) package: &'a Record<records::Package>,
    pub(crate) layer: &'a schema::Layer,
    /// The image below.
    pub(crate) base: Found,
    pub(crate) playbook: Playbook,
    /// Its requirements files, and what gyron.lock pins for them.
    pub(crate) requirements: (Vec<Wanted>, Vec<Resolved>),
    pub(crate) until: Instant,
    /// How long a builder whose bake failed is kept, if it is.
    pub(crate) keep: Option<Duration>,
}

impl Work<'_> {
    /// Everything that decides the layer's image.
    pub(crate) fn fingerprint(&self) -> Result<Fingerprint> {
        let mut fingerprint = Fingerprint::default();
        fingerprint.put("base", self.base.id.as_str());
        fingerprint.put("architecture", &self.base.architecture);
        fingerprint.put("volume", self.root().describe());
        fingerprint.put("toolkit", toolkit::recipe(&self.base.architecture).as_str());
        fingerprint.put("recipe", builder::recipe().as_str());
        fingerprint.put("playbook", &self.playbook.file);
        for (file, digest) in self.playbook.parts()? {
            fingerprint.put(format!("playbook {file}"), digest.as_str());
        }
        requirements::count(&self.requirements.1, &mut fingerprint);
        secrets::count(self.settings, &mut fingerprint);
        // A variable may be a secret.
        for (name, value) in self.variables() {
            fingerprint.put_digest(format!("variable {name}"), &value);
        }
        if let Some(release) = self.release() {
            fingerprint.put("release", release.sha256.as_str());
            fingerprint.put("release's file", &release.file);
        }
        Ok(fingerprint)
    }

    /// Bakes it, and leaves nothing but the image; where it fails, not even that.
    pub(crate) async fn run(&self, fingerprint: &Digest, lease: &Lease) -> Result<ImageId> {
        let mut made = Made::default();
        let baked = self.bake(&mut made, fingerprint, lease).await;
        let baked = match baked {
            Err(failure) => Err(self.leave(&mut made, failure).await),
            baked => baked,
        };
        let undone = self.tidy(&mut made, fingerprint, baked.is_err()).await;
        match (baked, undone) {
            (Ok(image), Ok(_)) => Ok(image),
            (Ok(image), Err(failure)) => Err(failure.already(format!("the image {image} is there"))),
            (Err(failure), Ok(Left::Nothing)) => Err(failure.already(self.nothing_left())),
            (Err(failure), Ok(_)) => Err(failure),
            (Err(failure), Err(second)) => Err(failure.already(second.message()).already(second.report())),
        }
    }

    async fn bake(&self, made: &mut Made, fingerprint: &Digest, lease: &Lease) -> Result<ImageId> {
        let (context, aws) = (self.context, self.aws);
        let mut phase = Phase::begin(&context.console);
        let toolkit = toolkit::find_or_make(context, self.registry, &self.base.architecture).await?;
        let folder = log_folder(self.registry, &context.run, &self.layer.name);
        let mut log = Log::new(&context.console, self.registry, folder);
        let job = self.job(&toolkit, fingerprint, &mut log, made).await?;
        let release = if self.layer.release { ", release" } else { "" };
        phase.done(format!("ready: {}, playbook{release}", toolkit.name));

        lease.confirm(sighting::STARTING).await?;
        let builder = instance::start(aws, &context.console, &context.stop, &self.instance(fingerprint)?).await?;
        made.builder = Some(builder.clone());
        made.heartbeat = Some(Heartbeat::begin(aws, &builder, self.settings.patience.0));
        self.boot(&builder).await?;
        made.online = true;
        phase.done(format!("builder {builder} is up"));

        lease.say(&format!("playing {}", self.layer.playbook));
        let file = self.log_file();
        log.keep(&context.config.root.join(&file))?;
        let play = builder::play(context, aws, &builder, (&job.url, &job.sha256), &mut log, self.left()?);
        let played = tokio::select! {
            played = play => played,
            lost = lease.lost() => Err(lost),
        };
        // Where it failed before the play began there is nothing in it.
        let told = context.config.root.join(&file).metadata().is_ok_and(|it| it.len() > 0);
        played
            .map_err(|failure| if told { failure.hint(format!("the whole log is in {file}")) } else { failure })
            .map_err(|failure| self.to_look_inside(failure))?;
        phase.done(format!("played {}", self.layer.playbook));
        log.say_slowest();

        lease.say("stopping the builder");
        builder::clean(context, aws, &builder).await.map_err(|failure| self.to_look_inside(failure))?;
        made.stopped = true;
        image::stop_builder(context, aws, &builder, self.left()?).await?;
        phase.done("cleaned up and stopped");

        // Whoever has taken the bake over makes it: two would be one too many.
        lease.confirm(sighting::MAKING).await?;
        made.asked = true;
        let image = self.image(&builder, fingerprint).await?;
        made.image = Some(image.clone());
        image::wait_available(context, aws, &image, self.left()?).await?;
        image::require_tokens(aws, &image).await?;
        phase.done(format!("image {image}"));
        Ok(image)
    }

    /// Waits until the builder can be told something.
    async fn boot(&self, builder: &InstanceId) -> Result<()> {
        let (context, aws) = (self.context, self.aws);
        context.stop.check()?;
        let running = InstanceStateName::Running;
        let up = instance::wait_for(aws, &context.console, &context.stop, builder, &running, self.left()?).await;
        match up {
            Err(failure) if matches!(failure.exit(), Exit::Aws | Exit::Deadline) => {
                return Err(failure.detail(instance::console_tail(aws, builder).await));
            }
            up => up?,
        }
        let deadline = self.left()?.min(self.settings.agent_deadline.0);
        let online = agent::online(aws, &context.console, &context.stop, builder, deadline).await;
        online.map_err(|failure| match failure.exit() {
            Exit::Deadline => failure.hint("bake.agent-deadline in gyron.toml says how long it may take"),
            _ => failure,
        })
    }

    /// Leaves what is better left: an image that only was not there in time, and a builder that somebody wants to look at.
    async fn leave(&self, made: &mut Made, failure: Failure) -> Failure {
        if failure.exit() == Exit::Deadline
            && let Some(image) = made.image.take()
        {
            // AWS goes on making it, from the builder's disk.
            made.left = Left::Something;
            // They are the image's.
            made.packages = false;
            return failure
                .already(format!("{image} is still being made, and the stopped builder has its disk till then"))
                .hint("gyron-bake again: it waits for that image, takes it, and clears the builder away");
        }
        self.keep(made, failure).await
    }

    /// Keeps the builder of a bake that failed, where that is asked for: it lives on without its bake, and then ends itself.
    async fn keep(&self, made: &mut Made, failure: Failure) -> Failure {
        let stopped = matches!(failure.exit(), Exit::Interrupted | Exit::Terminated);
        let (Some(keep), Some(builder), false) = (self.keep, made.builder.clone(), stopped || made.stopped) else {
            return failure;
        };
        let until = Timestamp::now().checked_add(keep).unwrap_or(Timestamp::MAX);
        if let Err(refused) = heartbeat::keep(self.aws, &builder, until).await {
            return failure.already(format!("the builder could not be kept: {refused}"));
        }
        made.builder = None;
        made.left = Left::Something;
        let region = &self.aws.region;
        failure
            .already(format!("the builder {builder} is kept until {until:.0}, costs money till then, and ends itself"))
            .hint(match made.online {
                true => format!("look at it: aws ssm start-session --target {builder} --region {region}"),
                false => format!(
                    "no session leads there, but its console can be read: aws ec2 get-console-output --latest --instance-id {builder} --region {region}"
                ),
            })
            .hint(format!("end it sooner: aws ec2 terminate-instances --instance-ids {builder} --region {region}"))
    }

    /// Names the way to look at a builder that is not kept this time.
    fn to_look_inside(&self, failure: Failure) -> Failure {
        if failure.exit() != Exit::Program || self.keep.is_some() {
            return failure;
        }
        failure.hint("to look inside the builder: gyron-bake --keep-on-failure, of the same commit")
    }

    /// What a bake that failed has left, where that is nothing of its own.
    fn nothing_left(&self) -> String {
        if self.settings.layers.is_empty() {
            return "no instance and no image of this bake are left".to_owned();
        }
        format!(
            "no instance and no image of the layer {} are left; what is below it stays for the next bake",
            self.layer.name
        )
    }

    /// Asks for the image. What it is of stands in its tags from its first moment, so that the next bake finds it even if this
    /// one dies now.
    async fn image(&self, builder: &InstanceId, fingerprint: &Digest) -> Result<ImageId> {
        let context = self.context;
        let version = &self.package.so.version;
        let mut more = vec![
            (TAG.to_owned(), fingerprint.to_string()),
            ("gyron:layer".to_owned(), self.layer.name.clone()),
            ("gyron:base".to_owned(), self.base.id.to_string()),
        ];
        if self.layer.release {
            more.push(("gyron:version".to_owned(), version.name.clone()));
            more.push(("gyron:commit".to_owned(), version.commit.clone().unwrap_or_default()));
        }
        image::create(context, self.aws, builder, &self.image_name(), &context.tags(Step::Bake, None, more)).await
    }

    /// The image's name: this run's alone.
    fn image_name(&self) -> String {
        let of = if self.layer.release { &self.package.so.version.name } else { &self.layer.name };
        format!("{}-{of}-{}", self.context.config.app(), self.context.run)
    }

    /// The release, where it comes to this layer.
    fn release(&self) -> Option<&records::Release> {
        self.layer.release.then_some(&self.package.so.facts.release)
    }

    /// The playbook's extra variables. The version belongs to the release: a layer without it is the same for all versions.
    fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = self.settings.variables.clone();
        variables.insert("gyron_app".to_owned(), self.context.config.app().to_owned());
        if self.layer.release {
            variables.insert("gyron_version".to_owned(), self.package.so.version.name.clone());
        }
        variables
    }

    /// The builder's root volume, which the image's is made of.
    fn root(&self) -> RootVolume {
        RootVolume {
            device: self.base.root_device.clone(),
            layout: self.settings.volume.clone(),
            encrypted: self.settings.encrypted,
            kms_key: self.settings.kms_key.clone(),
        }
    }

    fn instance(&self, fingerprint: &Digest) -> Result<Order> {
        let context = self.context;
        let lives = self.settings.deadline.0 + Duration::from_secs(600);
        // By these a later run finds what this one left if it is killed.
        let more = vec![(TAG.to_owned(), fingerprint.to_string()), ("gyron:layer".to_owned(), self.layer.name.clone())];
        Ok(Order {
            image: self.base.id.clone(),
            types: self.settings.instance_types.clone(),
            subnets: self.settings.subnets.clone(),
            security_groups: self.settings.security_groups.clone(),
            profile: self.settings.instance_profile.clone(),
            root: Some(self.root()),
            name: format!("gyron-bake {} {}", context.config.app(), self.layer.name),
            tags: context.tags(Step::Bake, Some(lives), more),
            patience: self.settings.patience.0,
            capacity: self.left()?.min(self.settings.capacity_deadline.0),
        })
    }

    /// Puts playbook and job where the builder can fetch them.
    async fn job(&self, toolkit: &Toolkit, fingerprint: &Digest, log: &mut Log<'_>, made: &mut Made) -> Result<Job> {
        let (context, registry) = (self.context, self.registry);
        let scratch = tempfile::tempdir().or_fail(|| Failure::defect("no temporary folder can be made"))?;
        let folder = folder(registry, &context.run, &self.layer.name);
        let (playbook, job) = (format!("{folder}/playbook.tar.gz"), format!("{folder}/job.tar.gz"));
        made.objects = true;
        made.packages = true;
        let file = scratch.path().join("playbook.tar.gz");
        let digest = self.playbook.archive(&file)?;
        registry.put_file(&playbook, &file).await?;

        let valid = self.left()? + Duration::from_secs(60);
        let release = match self.release() {
            None => None,
            Some(release) => Some(builder::FetchedRelease {
                what: "the release".to_owned(),
                url: registry.read_url(&release.key, valid).await?,
                sha256: release.sha256.clone(),
                file: release.file.clone(),
                archive: release.archive,
            }),
        };
        let fetched = async |what: &str, key: &str, sha256: &Digest| -> Result<builder::Fetched> {
            let url = registry.read_url(key, valid).await?;
            Ok(builder::Fetched { what: what.to_owned(), url, sha256: sha256.clone() })
        };
        let (wanted, pinned) = &self.requirements;
        let mut galaxy = Vec::new();
        for bundle in requirements::find_or_make(context, registry, &self.base.architecture, (wanted, pinned)).await? {
            galaxy.push(fetched(&bundle.what, &bundle.key, &bundle.sha256).await?);
        }
        let order = builder::Order {
            python: toolkit::PYTHON,
            toolkit: fetched("the toolkit", &toolkit.key, &toolkit.sha256).await?,
            playbook: fetched("the playbook", &playbook, &digest).await?,
            galaxy,
            release,
            file: self.playbook.file.clone(),
            variables: self.variables(),
            secrets: secrets::of(self.settings, self.aws).await?,
            log: log.sign(valid).await?,
            packages: registry.write_url(&packages::key(registry, fingerprint.as_str(), &context.run), valid).await?,
        };
        let file = scratch.path().join("job.tar.gz");
        let sha256 = builder::pack(&order, scratch.path(), &file)?;
        registry.put_file(&job, &file).await?;
        Ok(Job { url: registry.read_url(&job, valid).await?, sha256 })
    }

    /// Where Ansible's whole log is kept, relative to gyron.toml: one a layer, where there are layers.
    fn log_file(&self) -> String {
        let layer = if self.settings.layers.is_empty() { String::new() } else { format!("-{}", self.layer.name) };
        format!("{}/logs/ansible{layer}.log", records::FOLDER)
    }

    /// Takes away what was only needed on the way, and where the bake failed, the image too.
    async fn tidy(&self, made: &mut Made, fingerprint: &Digest, failed: bool) -> Result<Left> {
        let (context, aws) = (self.context, self.aws);
        let mut phase = Phase::begin(&context.console);
        made.heartbeat = None;
        let mut first = Ok(());
        if failed && made.left == Left::Nothing {
            // The answer to the call for it may have been lost on its way.
            let image = match made.image.take() {
                None if made.asked => image::named(aws, &self.image_name()).await,
                image => Ok(image),
            };
            first = match image {
                Ok(Some(image)) => image::remove(aws, &image).await,
                other => other.map(drop),
            };
        }
        if made.left == Left::Nothing {
            let terminated = image::terminate_builder(context, aws, &context.run, made.builder.as_ref()).await;
            first = first.and(terminated);
        }
        if std::mem::take(&mut made.objects) {
            let folder = folder(self.registry, &context.run, &self.layer.name);
            first = first.and(self.registry.remove_all(&format!("{folder}/")).await);
        }
        if std::mem::take(&mut made.packages) && failed {
            first = first.and(packages::forget(self.registry, fingerprint.as_str(), &context.run).await);
        }
        first?;
        if made.left == Left::Nothing {
            phase.done("builder terminated");
        }
        Ok(made.left)
    }

    /// What is left of the bake's deadline.
    pub(crate) fn left(&self) -> Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::deadline(format!("the bake was not done after {}", self.settings.deadline))
                .hint("bake.deadline in gyron.toml says how long it may take"));
        }
        Ok(left)
    }
}
