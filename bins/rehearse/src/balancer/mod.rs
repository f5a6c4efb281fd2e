//! The load balancer's data plane: listeners on machine-local addresses that forward by the rules and weights that stand in moto.
//!
//! It behaves as an Application Load Balancer with the attributes' defaults, on HTTP: rules by priority, weights drawn
//! anew for each request, targets in turn, health by real checks, 502, 503 and 504 as the real one gives them, and no
//! request ever sent twice. Stickiness and HTTPS are not there: the gateway refuses what would need them.

mod answers;
mod checker;
mod connections;
mod forward;
mod front;
mod groups;
mod headers;
mod health;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::checker::Plan;
pub use self::groups::Counters;
use self::groups::{Group, Member, Snapshot};
use self::health::Standing;
pub use self::health::{State, TargetHealth};
use crate::netns::Netns;
use crate::world::World;

/// Connections that wait to be accepted; the real balancer has no such limit to be felt.
const BACKLOG: u32 = 4096;

/// How long `stop` lets requests finish.
const FAREWELL: Duration = Duration::from_secs(2);

/// The data plane of all balancers of a cloud.
pub struct Plane {
    inside: Netns,
    shared: Arc<Shared>,
    /// What `apply` has running; also makes one `apply` wait for another.
    running: tokio::sync::Mutex<Running>,
}

/// What requests look at.
struct Shared {
    snapshot: RwLock<Arc<Snapshot>>,
    draining: Mutex<BTreeMap<String, Vec<Draining>>>,
    conversations: TaskTracker,
    /// Cancelled when even requests in flight are to end.
    over: CancellationToken,
}

struct Draining {
    member: Arc<Member>,
    until: Instant,
}

#[derive(Default)]
struct Running {
    listeners: HashMap<SocketAddrV4, Listening>,
    checkers: HashMap<(String, String, u16), (Plan, CancellationToken)>,
}

struct Listening {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A listener that stands in the control plane and could not be opened; the next `apply` tries again.
#[derive(Debug)]
pub struct Unopened {
    /// The listener's ARN.
    pub listener_arn: String,
    /// Where it should listen.
    pub address: SocketAddrV4,
    /// Why it doesn't.
    pub error: io::Error,
}

impl Plane {
    /// A plane that connects to targets from `inside`; listeners are made where the process is.
    #[must_use]
    pub fn new(inside: Netns) -> Self {
        Plane {
            inside,
            shared: Arc::new(Shared {
                snapshot: RwLock::default(),
                draining: Mutex::default(),
                conversations: TaskTracker::new(),
                over: CancellationToken::new(),
            }),
            running: tokio::sync::Mutex::default(),
        }
    }

    /// Makes the plane follow `world`; the same world again changes nothing. When it returns, the next request on any
    /// connection goes by the new rules. Requests in flight are not touched. Returns the listeners that can't be opened.
    pub async fn apply(&self, world: &World) -> Vec<Unopened> {
        let mut running = self.running.lock().await;
        let before = self.shared.snapshot();
        let after = Arc::new(Snapshot::after(&before, world, &self.inside));
        self.shared.replace(Arc::clone(&after));
        self.shared.drain(&before, &after);
        running.check(&after, &self.inside);
        running.listen(&after, &self.shared).await
    }

    /// The targets of a group as DescribeTargetHealth lists them: in the registered order, then those that drain.
    #[must_use]
    pub fn health(&self, target_group_arn: &str) -> Vec<TargetHealth> {
        let snapshot = self.shared.snapshot();
        let members = snapshot.groups.get(target_group_arn).map(|group| group.members.as_slice()).unwrap_or_default();
        let draining = self.shared.draining();
        let leaving = draining.get(target_group_arn).map(Vec::as_slice).unwrap_or_default().iter();
        members
            .iter()
            .map(|member| member.health())
            .chain(leaving.filter(|leaving| leaving.until > Instant::now()).map(|leaving| {
                let member = &leaving.member;
                Standing::Draining.of(&member.id, member.port, member.health_check_port)
            }))
            .collect()
    }

    /// What a target group or a balancer, by its ARN, has seen since it was there first.
    #[must_use]
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the tests read it: CloudWatch, which will too, is not served yet")
    )]
    pub fn counters(&self, arn: &str) -> Option<Arc<Counters>> {
        let snapshot = self.shared.snapshot();
        let balancer = || snapshot.fronts.values().find(|front| front.balancer_arn == arn);
        snapshot
            .groups
            .get(arn)
            .map(|group| Arc::clone(&group.counters))
            .or_else(|| balancer().map(|front| Arc::clone(&front.counters)))
    }

    /// Closes every listener, ends every check, and lets requests in flight finish for at most 2 s.
    pub async fn stop(&self) {
        let mut running = self.running.lock().await;
        let nothing = Arc::new(Snapshot::default());
        running.check(&nothing, &self.inside);
        running.listen(&nothing, &self.shared).await;
        self.shared.conversations.close();
        if tokio::time::timeout(FAREWELL, self.shared.conversations.wait()).await.is_err() {
            self.shared.over.cancel();
            self.shared.conversations.wait().await;
        }
        self.shared.replace(nothing);
        self.shared.draining().clear();
    }
}

impl Shared {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, snapshot: Arc<Snapshot>) {
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    fn draining(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Draining>>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Targets that are no longer registered drain for their group's delay; those that came back don't.
    fn drain(self: &Arc<Self>, before: &Snapshot, after: &Snapshot) {
        let mut draining = self.draining();
        for (arn, leaving) in draining.iter_mut() {
            let group = after.groups.get(arn);
            let is_back = |d: &Draining| group.is_some_and(|g| g.member(&d.member.id, d.member.port).is_some());
            leaving.retain(|d| !is_back(d));
        }
        for (arn, member, delay) in after.departed(before) {
            let until = Instant::now() + delay;
            draining.entry(arn.to_owned()).or_default().push(Draining { member: Arc::clone(member), until });
            let (shared, arn, member) = (Arc::downgrade(self), arn.to_owned(), Arc::clone(member));
            tokio::spawn(async move {
                tokio::time::sleep_until(until).await;
                member.cut.cancel();
                if let Some(shared) = shared.upgrade() {
                    let mut draining = shared.draining();
                    if let Some(leaving) = draining.get_mut(&arn) {
                        leaving.retain(|d| !Arc::ptr_eq(&d.member, &member));
                    }
                    draining.retain(|_, leaving| !leaving.is_empty());
                }
            });
        }
    }
}

impl Running {
    /// Starts and ends health checks, so that each target that is to be checked has one checker by its group's settings.
    fn check(&mut self, after: &Snapshot, inside: &Netns) {
        let mut wanted: HashMap<(String, String, u16), Plan> = HashMap::new();
        for (arn, group) in &after.groups {
            for member in &group.members {
                if let Some(plan) = plan(group, member) {
                    wanted.insert((arn.clone(), member.id.clone(), member.port), plan);
                }
            }
        }
        self.checkers.retain(|target, (plan, stop)| {
            let goes_on = wanted.get(target) == Some(plan);
            if goes_on {
                wanted.remove(target);
            } else {
                stop.cancel();
            }
            goes_on
        });
        for (target, plan) in wanted {
            let stop = CancellationToken::new();
            tokio::spawn(checker::run(plan.clone(), inside.clone(), stop.clone()));
            self.checkers.insert(target, (plan, stop));
        }
    }

    /// Closes listeners that are gone, with their ports free again, and opens new ones.
    async fn listen(&mut self, after: &Snapshot, shared: &Arc<Shared>) -> Vec<Unopened> {
        let gone: Vec<SocketAddrV4> =
            self.listeners.keys().filter(|at| !after.fronts.contains_key(at)).copied().collect();
        for at in gone {
            if let Some(listening) = self.listeners.remove(&at) {
                listening.stop.cancel();
                let _ = listening.task.await;
            }
        }
        let mut unopened = Vec::new();
        for (at, front) in &after.fronts {
            if self.listeners.contains_key(at) {
                continue;
            }
            match open(*at, &front.protocol) {
                Ok(listener) => {
                    let stop = CancellationToken::new();
                    let task = tokio::spawn(front::listen(listener, *at, Arc::clone(shared), stop.clone()));
                    self.listeners.insert(*at, Listening { stop, task });
                }
                Err(error) => unopened.push(Unopened { listener_arn: front.arn.clone(), address: *at, error }),
            }
        }
        unopened
    }
}

/// How a member is checked, if it is.
fn plan(group: &Group, member: &Member) -> Option<Plan> {
    let to = member.to_check()?;
    Some(Plan { to, settings: group.health_check.clone(), record: Arc::clone(member.record()) })
}

fn open(at: SocketAddrV4, protocol: &str) -> io::Result<TcpListener> {
    if protocol != "HTTP" {
        let says = format!("the rehearsal's balancer speaks HTTP only, not {protocol}");
        return Err(io::Error::new(io::ErrorKind::Unsupported, says));
    }
    let socket = TcpSocket::new_v4()?;
    // Or a port stays taken for a minute after its listener closed.
    socket.set_reuseaddr(true)?;
    socket.bind(at.into())?;
    socket.listen(BACKLOG)
}
