//! The move itself: weights, proof, and what is done when the proof does not come.

use std::time::Duration;

use gyron_core::aws::Aws;
use gyron_core::current::Current;
use gyron_core::edge::{Edge, Weights};
use gyron_core::failure::{Failure, Result};
use gyron_core::registry::Registry;
use gyron_core::step::{Context, Phase};
use gyron_core::stop::Stop;

use crate::decision::Move;
use crate::verify::{Expected, Prober, Rules, TOLERANCE, Tally, Verdict};

/// How long production is watched after a rollback, to say that the old version answers.
const AFTER_ROLLBACK: Duration = Duration::from_secs(10);

/// A move and all that it acts on.
#[derive(Debug)]
pub struct Flip<'a> {
    /// The run.
    pub context: &'a Context,
    /// AWS.
    pub aws: &'a Aws,
    /// Where `current.json` stands.
    pub registry: &'a Registry,
    /// The environment.
    pub env: &'a str,
    /// Its edge.
    pub edge: &'a Edge,
    /// The move.
    pub going: &'a Move,
    /// The weights before.
    pub before: Weights,
    /// `current.json` before.
    pub written: Option<&'a Current>,
    /// A way back is never turned round: whoever took it knows that the other side is bad.
    pub back: bool,
}

impl Flip<'_> {
    /// What `--plan` says.
    #[must_use]
    pub fn plan(&self) -> Vec<String> {
        let (to, swap) = (&self.going.to, self.context.config.swap());
        let after = Weights::all(to.colour);
        let mut lines = Vec::new();
        if self.before != after {
            lines.push(format!("move the production rule from {} to {after}", self.before));
        }
        lines.push(format!(
            "ask {}{} until {} answers in a row are {}, for at most {}",
            self.edge.url, swap.version_path, swap.answers, to.version, swap.deadline
        ));
        if !self.back {
            lines.push(format!("return to {} if they are not", self.going.restore));
        }
        lines.push(format!("write s3://{}/{}", self.registry.bucket(), Current::key(self.registry, self.env)));
        lines
    }

    /// Moves, proves, writes down.
    ///
    /// # Errors
    /// It said no (1): rolled back, or, on the way back, not proven. AWS (4). A signal (130, 143), after rolling back.
    pub async fn run(&self) -> Result<Current> {
        let (console, swap) = (&self.context.console, self.context.config.swap());
        let mut phase = Phase::begin(console);
        // Found before anything is moved.
        let prober = Prober::find(&self.edge.url, &swap.version_path).await?;
        let after = Weights::all(self.going.to.colour);
        let expected = Expected {
            new: self.going.to.version.clone(),
            old: self.going.from.as_ref().map(|from| from.version.clone()),
        };
        if expected.alike() {
            console.say(format!(
                "  both colours are {}: the answers can't be told apart, so {} good ones in a row have to do",
                expected.new, swap.answers
            ));
        }
        self.context.stop.check()?;
        if self.before == after {
            phase.done(format!("the production rule says {after} already"));
        } else {
            if let Err(failure) = self.edge.set_weights(self.aws, after).await {
                return Err(self.unmoved(failure).await);
            }
            phase.done(format!("the production rule says {after}, it said {}", self.before));
        }

        let tolerance = (self.going.from.is_some() || self.before != Weights::default()).then_some(TOLERANCE);
        let rules = Rules { answers: swap.answers.max(1), deadline: swap.deadline.0, tolerance };
        let mut tally = Tally::new(prober.addresses());
        let watched = prober.watch(self.context, &self.context.stop, &expected, &rules, &mut tally).await;
        let asked = format!("{} at {}", tally.report(&expected), places(prober.addresses()));
        let failure = match watched {
            Ok(Verdict::Arrived) => {
                phase.done(asked);
                let current = self.write().await?;
                phase.done("wrote current.json");
                return Ok(current);
            }
            Ok(Verdict::Breach(reason)) => {
                Failure::no(format!("production failed with {} live: {reason}", expected.new))
            }
            Ok(Verdict::Late(reason)) => {
                Failure::no(format!("production did not answer as {} within {}: {reason}", expected.new, swap.deadline))
                    .hint(format!("{} must answer with the version: [swap] version-path", swap.version_path))
            }
            Ok(Verdict::Open) => Failure::defect("the watch ended without a verdict"),
            Err(stopped) => stopped,
        };
        console.say(format!("  {asked}"));
        if self.back {
            return Err(failure
                .already(format!("the production rule says {after} and stays so: nothing is moved forward again"))
                .hint(format!(
                    "gyron-swap back --env {} again asks again, and writes down that it arrived",
                    self.env
                )));
        }
        Err(self.roll_back(failure, &prober, &expected).await)
    }

    /// Returns to the weights of before, and says what came of it.
    async fn roll_back(&self, failure: Failure, prober: &Prober, expected: &Expected) -> Failure {
        let restore = self.going.restore;
        self.context.console.say(format!("  rolling back to {restore}"));
        if let Err(again) = self.restore().await {
            return failure
                .already(format!("rolling back failed, too: {again}"))
                .already(format!("production may still go to {}", self.going.to.colour))
                .hint(format!("look at the rule: aws elbv2 describe-rules --rule-arns {}", self.edge.production_rule));
        }
        let failure = failure.already(format!("rolled back: the production rule says {restore} again"));
        let Some(old) = &self.going.from else { return failure };
        // A person waits, and the clean-up of a signal comes this way: a few answers have to do.
        let turned = Expected { new: old.version.clone(), old: Some(expected.new.clone()) };
        let rules = Rules { answers: 5, deadline: AFTER_ROLLBACK, tolerance: None };
        let mut tally = Tally::new(prober.addresses());
        let watched = prober.watch(self.context, &Stop::never(), &turned, &rules, &mut tally).await;
        let report = tally.report(&turned);
        match watched {
            Ok(Verdict::Arrived) => failure.already(format!("{} answers again: {report}", old.version)),
            _ => failure.already(format!("{} does not answer yet: {report}", old.version)),
        }
    }

    /// Sets the old weights and looks whether they stand, three times over: a rollback must not fail of a hiccup.
    async fn restore(&self) -> Result<()> {
        let mut last = Failure::aws("the old weights do not stand");
        for _ in 0..3 {
            let set = async {
                self.edge.set_weights(self.aws, self.going.restore).await?;
                self.edge.weights(self.aws).await
            };
            match set.await {
                Ok(weights) if weights == self.going.restore => return Ok(()),
                Ok(weights) => last = Failure::aws(format!("the production rule says {weights}")),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// The answer to ModifyRule was bad or lost: says where the weights are.
    async fn unmoved(&self, failure: Failure) -> Failure {
        match self.edge.weights(self.aws).await {
            Ok(weights) if weights == self.before => failure.already(format!("nothing was moved: {weights}")),
            Ok(weights) if self.back => failure.already(format!("the production rule says {weights}")),
            _ => match self.restore().await {
                Ok(()) => failure.already(format!("rolled back: the production rule says {}", self.going.restore)),
                Err(again) => failure.already(format!("nobody knows where the weights are: {again}")),
            },
        }
    }

    async fn write(&self) -> Result<Current> {
        let current = Current {
            live: self.going.to.clone(),
            previous: self.going.from.clone(),
            at: format!("{:.0}", jiff::Timestamp::now()),
            run: self.context.run.clone(),
        };
        let key = Current::key(self.registry, self.env);
        let moved = |failure: Failure| {
            failure
                .already(format!("{} {} has the traffic, and answers", self.going.to.colour, self.going.to.version))
                .hint("the same command again writes it down")
        };
        let written = self.registry.swap(&key, |there: Option<Current>| {
            // A put whose answer was lost is seen as one's own.
            if there.as_ref() == self.written || there.as_ref() == Some(&current) {
                return Ok(current.clone());
            }
            Err(Failure::refused("current.json was written by another run meanwhile"))
        });
        written.await.map_err(moved)?;
        Ok(current)
    }
}

fn places(addresses: usize) -> String {
    if addresses == 1 { "1 address".to_owned() } else { format!("{addresses} addresses") }
}
