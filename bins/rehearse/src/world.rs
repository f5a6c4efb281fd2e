//! What the control plane says is so, as plain data: read from moto, given to the bodies and the data plane.
//!
//! Nothing here is remembered between two looks. After each call that may have changed something, and on a clock,
//! the gateway reads a new `World` from moto and brings the machine into line with it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

/// All that has a body on this machine.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Instances in every state that moto still describes, terminated ones included.
    pub instances: Vec<Instance>,
    /// Application load balancers with their listeners and rules.
    pub balancers: Vec<Balancer>,
    /// Target groups with their registered targets, by ARN.
    pub target_groups: BTreeMap<String, TargetGroup>,
}

/// One instance, as DescribeInstances has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// `ami-…`
    pub image_id: String,
    /// The state moto wants: pending and running both mean that a body should run.
    pub state: InstanceState,
    /// The primary private address, in 172.31.0.0/16.
    pub private_ip: Ipv4Addr,
    /// The MAC address of the primary interface.
    pub mac: String,
    /// `c7i.large` …
    pub instance_type: String,
    /// `us-east-1a` …
    pub zone: String,
    /// The subnet's id.
    pub subnet_id: String,
    /// The VPC's id.
    pub vpc_id: String,
    /// Base64-decoded user data; empty where there is none.
    pub user_data: Vec<u8>,
    /// The ARN of its instance profile, if it has one. Without it no SSM agent comes online, as on AWS.
    pub instance_profile_arn: Option<String>,
    /// Ids of its security groups with their names.
    pub security_groups: Vec<(String, String)>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Whether `InstanceMetadataTags` is enabled.
    pub metadata_tags: bool,
    /// Whether `HttpTokens` is `required` (IMDSv2 only).
    pub metadata_tokens_required: bool,
    /// RFC 3339, as DescribeInstances prints it.
    pub launch_time: String,
    /// The key pair it was launched with.
    pub key_pair: Option<KeyPair>,
}

/// A key pair, as an instance keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPair {
    /// Its name.
    pub name: String,
    /// The public key in OpenSSH's form, without a comment; empty until it has been read.
    pub public: String,
}

/// The instance states of EC2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// `pending`
    Pending,
    /// `running`
    Running,
    /// `shutting-down`
    ShuttingDown,
    /// `terminated`
    Terminated,
    /// `stopping`
    Stopping,
    /// `stopped`
    Stopped,
}

/// An application load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancer {
    /// Its ARN.
    pub arn: String,
    /// Its DNS name, which resolves to `addresses` in the steps' and the instances' resolver.
    pub dns_name: String,
    /// The machine-local addresses it listens on, one a subnet, given by the gateway and kept while it lives.
    pub addresses: Vec<Ipv4Addr>,
    /// `idle_timeout.timeout_seconds`, 60 by default: longer without a byte from a target is a 504.
    pub idle_timeout: Duration,
    /// Its listeners.
    pub listeners: Vec<Listener>,
}

/// A listener: a port and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its ARN.
    pub arn: String,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// 1 to 65535.
    pub port: u16,
    /// In the order in which they are tried: by priority, the default rule last.
    pub rules: Vec<Rule>,
}

/// A listener rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its ARN.
    pub arn: String,
    /// `None` for the default rule.
    pub priority: Option<u32>,
    /// All must hold; none for the default rule.
    pub conditions: Vec<Condition>,
    /// What is done; the last one is a terminal action.
    pub actions: Vec<Action>,
}

/// A rule's condition; within one condition any value may match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `host-header`, with `*` and `?`, case-insensitive.
    Host(Vec<String>),
    /// `path-pattern`, with `*` and `?`, case-sensitive.
    Path(Vec<String>),
    /// `http-header`, values with `*` and `?`, case-insensitive.
    Header {
        /// The header's name.
        name: String,
        /// Patterns.
        values: Vec<String>,
    },
    /// `http-request-method`, exact.
    Method(Vec<String>),
    /// `query-string`: key (if any) and value patterns.
    Query(Vec<(Option<String>, String)>),
    /// `source-ip`, CIDR blocks.
    SourceIp(Vec<String>),
}

/// A rule's action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `forward` to target groups by weight (0 to 999).
    Forward {
        /// ARN and weight.
        groups: Vec<(String, u32)>,
        /// Group stickiness, if enabled.
        stickiness: Option<Duration>,
    },
    /// `fixed-response`
    FixedResponse {
        /// The status, 200 to 599.
        status: u16,
        /// Content type, empty for none.
        content_type: String,
        /// The body.
        body: String,
    },
    /// `redirect`
    Redirect {
        /// 301 or 302.
        status: u16,
        /// `#{protocol}` and the like stand for the request's own.
        protocol: String,
        /// Host.
        host: String,
        /// Port.
        port: String,
        /// Path.
        path: String,
        /// Query.
        query: String,
    },
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// The default port of its targets.
    pub port: u16,
    /// The health check's settings.
    pub health_check: HealthCheck,
    /// `deregistration_delay.timeout_seconds`, 300 by default.
    pub deregistration_delay: Duration,
    /// Target stickiness by `lb_cookie`, if enabled.
    pub stickiness: Option<Duration>,
    /// Registered targets.
    pub targets: Vec<Target>,
}

/// The settings of a target group's health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Disabled only for Lambda targets.
    pub enabled: bool,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// `None` means `traffic-port`.
    pub port: Option<u16>,
    /// `/` by default.
    pub path: String,
    /// 5 to 300 s.
    pub interval: Duration,
    /// 2 to 120 s.
    pub timeout: Duration,
    /// Passes in a row after which an unhealthy target is healthy; a new one needs only one.
    pub healthy_threshold: u32,
    /// Failures in a row after which a target is unhealthy.
    pub unhealthy_threshold: u32,
    /// `200`, `200-299`, `200,301`.
    pub matcher: String,
}

/// A registered target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The instance's id.
    pub id: String,
    /// The port that was registered, or the group's.
    pub port: u16,
    /// Where it is, while the instance has an address; `None` once it is gone.
    pub address: Option<Ipv4Addr>,
    /// The instance's state; `None` once moto no longer describes it.
    pub state: Option<InstanceState>,
    /// The instance's zone.
    pub zone: Option<String>,
}
