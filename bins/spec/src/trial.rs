//! The trial of an image: booted as production would, tested, thrown away.

use std::time::{Duration, Instant};

use aws_sdk_ec2::types::InstanceStateName;
use gyron_core::agent;
use gyron_core::aws::Aws;
use gyron_core::config::Config;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::heartbeat::{self, Heartbeat};
use gyron_core::ids::InstanceId;
use gyron_core::instance::{self, Order};
use gyron_core::names::{self, Tags};
use gyron_core::records::{self, Bake, Record, Step};
use gyron_core::registry::Registry;
use gyron_core::run_command;
use gyron_core::step::{Context, Phase};

use crate::rspec::{Example, Outcome, Said};
use crate::script::{self, Errand};
use crate::specs::Specs;
use crate::{image, junit};

/// Boots the image of the records, runs the specs on it, and says what they said.
pub(crate) async fn try_image(context: &Context) -> Result<()> {
    let config = &context.config;
    let settings = config.spec()?;
    let specs = Specs::find(&config.root, &settings.path)?;
    let bake: Record<Bake> = context.records().read()?;
    let order = order(config, &bake, context.tags(Step::Spec, Some(2 * settings.deadline.0), Vec::new()))?;
    let (version, image) = (&bake.so.version, &bake.so.facts.image);
    let aws = context.aws().await;
    image::check(&aws, image).await?;
    if context.plan {
        return context.show_plan(&plan(&order, &specs));
    }
    context.console.say(format!("spec {} {}: {} on {image}", config.app(), version.name, specs.in_words()));
    junit::forget(&config.root);
    let registry = context.registry(&aws);
    let mut trial = Trial {
        context,
        aws: &aws,
        registry: &registry,
        phase: Phase::begin(&context.console),
        ends: Instant::now() + settings.deadline.0,
        instance: None,
        keys: Vec::new(),
    };
    let said = trial.run(&order, &specs, &bake).await;
    let cleaned = trial.clean_up().await;
    let said = match (said, cleaned) {
        (Ok(said), Ok(())) => said,
        (Ok(_), Err(remains)) => return Err(remains),
        (Err(failure), Ok(())) => return Err(failure),
        (Err(failure), Err(remains)) => return Err(failure.already(format!("clean-up failed: {}", remains.message()))),
    };
    conclude(context, &aws, &registry, &bake, &specs, said).await
}

/// Judges what rspec said, writes the verdict where it is looked for, and ends the step by it.
async fn conclude(
    context: &Context,
    aws: &Aws,
    registry: &Registry,
    bake: &Record<Bake>,
    specs: &Specs,
    said: Said,
) -> Result<()> {
    let image = &bake.so.facts.image;
    if said.system != "running" {
        let units = said.units.iter().filter_map(|line| line.split_whitespace().next()).collect::<Vec<_>>().join(", ");
        let failed = if units.is_empty() { String::new() } else { format!(", failed: {units}") };
        context.console.say(format!("  the booted system is {}{failed}", said.system));
    }
    let examples = said.examples(&specs.path)?;
    let counted = |wanted: fn(&Outcome) -> bool| examples.iter().filter(|example| wanted(&example.outcome)).count();
    let failed = counted(|outcome| matches!(outcome, Outcome::Failed(_)));
    let pending = counted(|outcome| matches!(outcome, Outcome::Pending(_)));
    let passed = failed == 0;
    junit::write(&context.config.root, &examples)?;
    image::mark(aws, image, passed, &specs.digest).await?;
    let facts = records::Spec {
        image: image.clone(),
        specs: specs.digest.clone(),
        examples: u32::try_from(examples.len()).unwrap_or(u32::MAX),
        passed,
    };
    context.console.say(format!("  {}", in_words(examples.len(), failed, pending)));
    let short = if passed { "passed" } else { "failed" };
    context.record(registry, &bake.so.version, Some(&bake.digest), facts, short).await?;
    if passed { Ok(()) } else { Err(no(&examples, failed, bake)) }
}

fn in_words(all: usize, failed: usize, pending: usize) -> String {
    let pending = if pending == 0 { String::new() } else { format!(", {pending} pending") };
    match failed {
        0 => format!("{all} expectations{pending}, all met"),
        failed => format!("{all} expectations{pending}, {failed} not met"),
    }
}

fn no(examples: &[Example], failed: usize, bake: &Record<Bake>) -> Failure {
    let (image, all) = (&bake.so.facts.image, examples.len());
    Failure::no(format!("{image} does not meet {failed} of {all} expectations"))
        .detail(junit::failures(examples))
        .already(format!("{image} is marked {}=failed, and gyron-launch refuses it", image::VERDICT))
        .hint(
            "mend the playbook or the spec, then run gyron-bake (or gyron-package, if the app changed) and gyron-spec",
        )
}

/// The instance as production would boot it, by [launch]; where the app has no such table, as it was baked.
fn order(config: &Config, bake: &Record<Bake>, tags: Tags) -> Result<Order> {
    let (launch, baked) = (config.tables.launch.as_ref(), config.tables.bake.as_ref());
    let (types, profile) = match launch {
        Some(launch) => (vec![launch.instance_type.clone()], launch.instance_profile.clone()),
        None => {
            let baked = config.bake()?;
            (baked.instance_types.clone(), baked.instance_profile.clone())
        }
    };
    let named = launch.map(|launch| &launch.subnets).filter(|subnets| !subnets.is_empty());
    // Colours have the edge's security group, which need not be there yet.
    Ok(Order {
        image: bake.so.facts.image.clone(),
        types,
        subnets: named.or(baked.map(|baked| &baked.subnets)).cloned().unwrap_or_default(),
        security_groups: baked.map(|baked| baked.security_groups.clone()).unwrap_or_default(),
        profile,
        root: None,
        name: names::resource(&[config.app(), "spec"], &tags.run),
        tags,
        patience: heartbeat::PATIENCE,
        capacity: heartbeat::PATIENCE,
    })
}

fn plan(order: &Order, specs: &Specs) -> Vec<String> {
    let Order { image, profile, .. } = order;
    let types = order.types.join(" or ");
    let place = match order.subnets.as_slice() {
        [] => "the default VPC".to_owned(),
        subnets => subnets.join(" or "),
    };
    vec![
        format!("boot {image} as {types} in {place}, with the instance profile {profile}"),
        "install serverspec on it from the distribution's packages".to_owned(),
        format!("run {} on it", specs.in_words()),
        format!("mark {image} as {}=passed or {}=failed", image::VERDICT, image::VERDICT),
        "terminate the instance".to_owned(),
    ]
}

/// What the trial has made so far, so that nothing of it stays.
struct Trial<'a> {
    context: &'a Context,
    aws: &'a Aws,
    registry: &'a Registry,
    phase: Phase<'a>,
    ends: Instant,
    instance: Option<InstanceId>,
    keys: Vec<String>,
}

impl Trial<'_> {
    fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    async fn run(&mut self, order: &Order, specs: &Specs, bake: &Record<Bake>) -> Result<Said> {
        let (aws, console, stop) = (self.aws, &self.context.console, &self.context.stop);
        let run = &self.context.run;
        let file = tempfile::NamedTempFile::new().or_fail(|| Failure::defect("no temporary file can be made"))?;
        let sealed = specs.pack(file.path())?;
        let (specs_key, report_key) = (
            self.registry.key(&format!("runs/{run}/specs.tar.gz")),
            self.registry.key(&format!("runs/{run}/report.json")),
        );
        self.registry.put_file(&specs_key, file.path()).await?;
        self.keys.push(specs_key.clone());

        stop.check()?;
        let instance = instance::start(aws, console, stop, order).await?;
        self.instance = Some(instance.clone());
        let _owned = Heartbeat::begin(aws, &instance, order.patience);
        instance::wait_for(aws, console, stop, &instance, &InstanceStateName::Running, self.left()).await?;
        agent::online(aws, console, stop, &instance, self.left()).await?;
        self.phase.done(format!("{instance} is up, its agent online"));

        let valid = self.left() + Duration::from_secs(60);
        let specs_url = self.registry.read_url(&specs_key, valid).await?;
        let report_url = self.registry.write_url(&report_key, valid).await?;
        let errand = Errand {
            specs: &specs_url,
            sha256: &sealed.sha256,
            report: &report_url,
            app: self.context.config.app(),
            version: &bake.so.version.name,
        };
        self.keys.push(report_key.clone());
        let reply = run_command::run(aws, console, stop, &instance, &errand.script(&instance, self.left())).await?;
        if let Some(failure) = script::trouble(&reply, &order.image) {
            return Err(failure);
        }
        let report = self.registry.bytes(&report_key).await?;
        let report = report.ok_or_else(|| Failure::aws(format!("the report at {report_key} is not there")))?;
        self.phase.done("the specs have run");
        serde_json::from_slice(&report).or_fail(|| Failure::program("what rspec reported can't be read"))
    }

    /// Removes what the trial made, on every way out. Signals don't stop it.
    async fn clean_up(&mut self) -> Result<()> {
        let mut instances = match instance::of_run(self.aws, &self.context.run).await {
            Ok(instances) => instances,
            // Nothing was started, so nothing has to be found: what failed before is the better error.
            Err(_) if self.instance.is_none() && self.keys.is_empty() => return Ok(()),
            Err(failure) => match self.instance {
                Some(_) => Vec::new(),
                None => return Err(failure),
            },
        };
        // Just started, it may not be found by its tag yet.
        instances.extend(self.instance.clone().filter(|known| !instances.contains(known)));
        let mut remains = None;
        for instance in instances {
            match instance::terminate(self.aws, &self.context.console, &instance).await {
                Ok(()) => self.phase.done(format!("{instance} is gone")),
                Err(failure) => remains = Some(failure),
            }
        }
        for key in &self.keys {
            if let Err(failure) = self.registry.remove(key).await {
                remains.get_or_insert(failure);
            }
        }
        remains.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use gyron_core::config::Config;
    use gyron_core::ids::ImageId;
    use gyron_core::instance::Order;
    use gyron_core::names::Tags;
    use gyron_core::records::{Bake, Happened, Record, So};
    use gyron_core::version::Version;

    use super::{in_words, order};

    const BAKE: &str = r#"
        app = "shop"
        region = "us-east-1"
        bucket = "releases"
        [bake]
        base = { id = "ami-0" }
        playbook = "site.yml"
        instance-types = ["c7i.large", "c6i.large"]
        instance-profile = "gyron-builder"
        subnets = ["subnet-b"]
        security-groups = ["sg-b"]
    "#;

    fn ordered(text: &str) -> Order {
        let config = Config::read(Path::new("/app"), text, None, &[]).unwrap();
        let facts = Bake {
            image: ImageId::new("ami-1"),
            region: "us-east-1".to_owned(),
            base: ImageId::new("ami-0"),
            layers: Vec::new(),
            copies: std::collections::BTreeMap::new(),
        };
        let version = Version { name: "1.4.0".to_owned(), commit: None, dirty: false };
        let so = So { app: "shop".to_owned(), version, env: None, after: None, facts };
        let happened = Happened {
            at: String::new(),
            milliseconds: 0,
            run: String::new(),
            host: String::new(),
            gyron: String::new(),
        };
        let tags = Tags {
            app: "shop".to_owned(),
            step: "spec".to_owned(),
            run: "1".to_owned(),
            expires: None,
            more: Vec::new(),
        };
        order(&config, &Record::seal(so, happened).unwrap(), tags).unwrap()
    }

    #[test]
    fn it_boots_as_production_would() {
        let launch = "[launch]\ninstance-type = \"t3.small\"\ninstance-profile = \"gyron-app\"\ncapacity = { min = 1, max = 1 }\n";
        let order = ordered(&format!("{BAKE}\n{launch}"));
        assert_eq!(order.types, ["t3.small"]);
        assert_eq!(order.profile, "gyron-app");
        assert_eq!(order.subnets, ["subnet-b"]);
        assert_eq!(order.security_groups, ["sg-b"]);
        let order = ordered(&format!("{BAKE}\n{launch}subnets = [\"subnet-l\"]"));
        assert_eq!(order.subnets, ["subnet-l"]);
    }

    #[test]
    fn without_a_launch_table_it_boots_as_it_was_baked() {
        let order = ordered(BAKE);
        assert_eq!(order.types, ["c7i.large", "c6i.large"]);
        assert_eq!(order.profile, "gyron-builder");
        assert_eq!(order.image.as_str(), "ami-1");
    }

    #[test]
    fn the_count_is_said_in_words() {
        assert_eq!(in_words(19, 0, 0), "19 expectations, all met");
        assert_eq!(in_words(19, 2, 1), "19 expectations, 1 pending, 2 not met");
    }
}
