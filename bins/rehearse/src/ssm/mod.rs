//! SSM Run Command: the part of SSM that the rehearsal serves itself, since moto's runs nothing.
//!
//! Commands come from the gateway by [`Service::call`] and go to the agents on the instances through the door of the
//! metadata service ([`Service::wait_for_work`], [`Service::take`], [`Service::end`]). All of it is in memory: a
//! daemon that begins anew knows no earlier commands.

pub mod agent;
mod answers;
mod documents;
mod failure;
mod fleet;
mod ledger;
mod output;
mod page;
mod status;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::cloud::Cloud;
use crate::world::{Instance, World};

use answers::Place;
pub use failure::AwsError;
use fleet::Fleet;
pub use fleet::Hello;
use ledger::{Command, Invocation, Ledger};
pub use ledger::{Report, Task};

/// An agent's question is answered after so long at the latest.
pub const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// While it waits, it counts as heard at each of these beats.
const BEAT: Duration = Duration::from_secs(5);

/// The actions that are served here; all others of SSM are moto's.
const ACTIONS: [&str; 6] = [
    "SendCommand",
    "GetCommandInvocation",
    "ListCommandInvocations",
    "ListCommands",
    "CancelCommand",
    "DescribeInstanceInformation",
];

/// Run Command of one cloud.
pub struct Service {
    world: watch::Receiver<Arc<World>>,
    place: Place,
    state: Mutex<State>,
    /// Instances whose agents are never heard.
    mute: Mutex<BTreeSet<String>>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    fleet: Fleet,
    ledger: Ledger,
}

/// An agent's question for work.
#[derive(Clone, Debug, Deserialize)]
pub struct Question {
    /// What it is.
    #[serde(default)]
    pub agent: Hello,
    /// Ids of all commands that it took and whose end it hasn't yet reported.
    #[serde(default)]
    pub holding: Vec<String>,
    /// Ids of those among them that it has been told to cancel.
    #[serde(default)]
    pub cancelling: Vec<String>,
}

/// What an agent is to do now.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Work {
    /// To take and run.
    pub run: Vec<Task>,
    /// To stop.
    pub cancel: Vec<String>,
    /// S3 and all else, without a trailing slash.
    pub endpoint: String,
    /// The region.
    pub region: String,
}

impl Service {
    /// Run Command for the instances of a world that changes.
    #[must_use]
    pub fn new(cloud: &Cloud, world: watch::Receiver<Arc<World>>) -> Arc<Self> {
        Arc::new(Service {
            world,
            place: Place { region: cloud.region.clone(), endpoint: cloud.endpoint_url() },
            state: Mutex::default(),
            mute: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// The agent of this instance is never heard, as where no way leads out to SSM.
    pub fn mute(&self, instance: &str) {
        self.mute.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.to_owned());
    }

    /// Whether the agent of this instance is never heard.
    #[must_use]
    pub fn is_mute(&self, instance: &str) -> bool {
        self.mute.lock().unwrap_or_else(PoisonError::into_inner).contains(instance)
    }

    /// Whether an action of SSM (`SendCommand`, without the target's prefix) is served here.
    #[must_use]
    pub fn owns(action: &str) -> bool {
        ACTIONS.contains(&action)
    }

    /// Serves an action.
    ///
    /// # Errors
    /// As AWS documents them for the action; `UnsupportedOperationException` for what the rehearsal can't do.
    pub async fn call(&self, action: &str, body: Value) -> Result<Value, AwsError> {
        self.call_at(action, &body, Timestamp::now())
    }

    fn call_at(&self, action: &str, body: &Value, now: Timestamp) -> Result<Value, AwsError> {
        let world = self.world();
        let mut state = self.state(&world, now);
        let answer = match action {
            "SendCommand" => state.send(body, &world, &self.place, now),
            "GetCommandInvocation" => state.get_invocation(body, &world, &self.place, now),
            "ListCommandInvocations" => state.list_invocations(body, &world, &self.place, now),
            "ListCommands" => state.list_commands(body, &self.place),
            "CancelCommand" => state.cancel(body),
            "DescribeInstanceInformation" => state.fleet.describe(body, &world, &self.place.region, now),
            other => Err(AwsError::beyond(other)),
        };
        drop(state);
        self.changed.notify_waiters();
        answer
    }

    /// An agent asks for work: answered at once where there is some, else when some comes, or with none after 20 s.
    pub async fn wait_for_work(&self, instance: &str, question: Question) -> Work {
        let until = Instant::now() + LONGEST_WAIT;
        {
            let now = Timestamp::now();
            let mut state = self.state(&self.world(), now);
            state.fleet.greeted(instance, question.agent, now);
            state.ledger.holds(instance, &question.holding, now);
        }
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listening before looking: what changes in between isn't missed.
            changed.as_mut().enable();
            let mut work =
                Work { endpoint: self.place.endpoint.clone(), region: self.place.region.clone(), ..Work::default() };
            {
                let now = Timestamp::now();
                let mut state = self.state(&self.world(), now);
                state.fleet.heard(instance, now);
                work.run = state.ledger.tasks(instance);
                work.cancel = state.ledger.cancellations(instance);
                work.cancel.retain(|id| !question.cancelling.contains(id));
            }
            if !work.run.is_empty() || !work.cancel.is_empty() || Instant::now() >= until {
                return work;
            }
            let beat = until.min(Instant::now() + BEAT);
            let _ = tokio::time::timeout_at(beat, changed).await;
        }
    }

    /// An agent takes a task; `false` where it must not run it.
    pub fn take(&self, instance: &str, id: &str) -> bool {
        let now = Timestamp::now();
        self.state(&self.world(), now).ledger.take(id, instance, now)
    }

    /// An agent reports a script's end.
    pub fn end(&self, instance: &str, report: &Report) {
        let now = Timestamp::now();
        self.state(&self.world(), now).ledger.end(instance, report, now);
        // With `MaxConcurrency` the end of one is the turn of another.
        self.changed.notify_waiters();
    }

    fn world(&self) -> Arc<World> {
        self.world.borrow().clone()
    }

    /// The state, with all that time and the world have done to it.
    fn state(&self, world: &World, now: Timestamp) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let alive: BTreeSet<&str> =
            world.instances.iter().filter(|i| !fleet::is_gone(i)).map(|i| i.id.as_str()).collect();
        state.ledger.overtake(|id| !alive.contains(id), now);
        state.fleet.forget_all_but(world);
        state
    }
}

impl State {
    fn send(&mut self, body: &Value, world: &World, place: &Place, now: Timestamp) -> Result<Value, AwsError> {
        let order = documents::order(body)?;
        let ids = if order.targets.is_empty() {
            self.fleet.by_ids(&order.instance_ids, world, now)?
        } else {
            self.fleet.by_targets(&order.targets, world)
        };
        let name = |id: &String| {
            let instance = world.instances.iter().find(|i| i.id == *id);
            instance.and_then(|i| i.tags.get("Name").cloned()).unwrap_or_default()
        };
        let instances = ids.iter().map(|id| (id.clone(), name(id))).collect();
        let id = uuid::Uuid::new_v4().to_string();
        let command = self.ledger.begin(order, instances, id, now);
        Ok(json!({ "Command": answers::command(command, place) }))
    }

    fn get_invocation(&self, body: &Value, world: &World, place: &Place, now: Timestamp) -> Result<Value, AwsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase", deny_unknown_fields)]
        struct Request {
            command_id: String,
            instance_id: String,
            plugin_name: Option<String>,
        }
        let request: Request = documents::parse(body)?;
        let command = self.ledger.command(&request.command_id);
        let found = command.and_then(|command| {
            command
                .invocations
                .iter()
                .find(|i| i.instance == request.instance_id)
                .map(|invocation| (command, invocation))
        });
        let Some((command, invocation)) = found else {
            return Err(AwsError::new("InvocationDoesNotExist", ""));
        };
        if request.plugin_name.is_some_and(|name| name != documents::PLUGIN) {
            return Err(AwsError::new("InvalidPluginName", ""));
        }
        Ok(answers::invocation_detail(command, invocation, self.online(&invocation.instance, world, now), place))
    }

    fn list_invocations(&self, body: &Value, world: &World, place: &Place, now: Timestamp) -> Result<Value, AwsError> {
        let request: List = documents::parse(body)?;
        let mut found = Vec::new();
        for command in self.ledger.commands().filter(|command| request.names(command)) {
            for invocation in command.invocations.iter().filter(|i| request.is_for(i)) {
                let online = self.online(&invocation.instance, world, now);
                let (status, details) = invocation.state.shown(online);
                if request.passes(command, status, details)? {
                    found.push(answers::invocation(command, invocation, online, request.details, place));
                }
            }
        }
        page::page("CommandInvocations", found, request.size()?, request.next_token.as_deref())
    }

    fn list_commands(&self, body: &Value, place: &Place) -> Result<Value, AwsError> {
        let request: List = documents::parse(body)?;
        let mut found = Vec::new();
        for command in self.ledger.commands().filter(|command| request.names(command)) {
            let (status, details) = status::of_command(&command.states(), command.max_errors());
            let for_it = request.instance_id.is_none() || command.invocations.iter().any(|i| request.is_for(i));
            if for_it && request.passes(command, status, details)? {
                found.push(answers::command(command, place));
            }
        }
        page::page("Commands", found, request.size()?, request.next_token.as_deref())
    }

    fn cancel(&mut self, body: &Value) -> Result<Value, AwsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase", deny_unknown_fields)]
        struct Request {
            command_id: String,
            #[serde(default)]
            instance_ids: Vec<String>,
        }
        let request: Request = documents::parse(body)?;
        self.ledger.cancel(&request.command_id, &request.instance_ids)?;
        Ok(json!({}))
    }

    fn online(&self, id: &str, world: &World, now: Timestamp) -> bool {
        let instance: Option<&Instance> = world.instances.iter().find(|i| i.id == id);
        instance.is_some_and(|instance| self.fleet.online(instance, now))
    }
}

/// ListCommands and ListCommandInvocations.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct List {
    command_id: Option<String>,
    instance_id: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    details: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    key: String,
    value: String,
}

impl List {
    fn names(&self, command: &Command) -> bool {
        self.command_id.as_ref().is_none_or(|id| *id == command.id)
    }

    fn is_for(&self, invocation: &Invocation) -> bool {
        self.instance_id.as_ref().is_none_or(|id| *id == invocation.instance)
    }

    fn size(&self) -> Result<usize, AwsError> {
        let size = self.max_results.unwrap_or(50);
        if (1..=50).contains(&size) {
            Ok(size)
        } else {
            Err(AwsError::validation("MaxResults must be between 1 and 50"))
        }
    }

    fn passes(&self, command: &Command, status: &str, details: &str) -> Result<bool, AwsError> {
        for Filter { key, value } in &self.filters {
            let passes = match key.as_str() {
                "Status" => status == value || details == value,
                "DocumentName" => command.order.document == *value,
                "InvokedAfter" => command.requested > moment(value)?,
                "InvokedBefore" => command.requested < moment(value)?,
                "ExecutionStage" => {
                    let running = ["Pending", "InProgress", "Delayed", "Cancelling"].contains(&status);
                    (value == "Executing") == running
                }
                _ => return Err(AwsError::new("InvalidFilterKey", format!("{key} is not a filter of this action"))),
            };
            if !passes {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn moment(text: &str) -> Result<Timestamp, AwsError> {
    text.parse().map_err(|_| AwsError::validation(format!("{text} is not a time like 2026-01-02T03:04:05Z")))
}

#[cfg(test)]
mod tests;
