//! The gateway: one endpoint for every service, in front of moto.
//!
//! It passes on what moto does right, streaming both ways, and answers what needs a body: instances, images, target
//! health, Run Command. Every call is recorded.

mod copies;
mod edge;
pub mod faults;
mod following;
mod groups;
mod images;
mod instances;
pub mod overlay;
mod parameters;
pub mod params;
mod presigned;
pub mod refusal;
pub mod request;
mod snapshots;
mod status;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use gyron_core::failure::{Failure, OrFail, Result};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use self::edge::Addresses;
use self::faults::{Faults, Strike, When};
use self::images::Images;
use self::instances::Tokens;
use self::overlay::Overlay;
use self::params::Params;
use self::refusal::{Body, Refusal, full, request_id, stamp};
use self::request::{Asked, Protocol};
use crate::balancer::Plane;
use crate::bodies::Bodies;
use crate::calls::{Call, From, Recorder};
use crate::cloud::Cloud;
use crate::moto::client::{Client, Service};
use crate::moto::look::{Eye, Raw};
use crate::moto::xml::Node;
use crate::moto::{DEBIAN_IMAGE, DEBIAN_SSM_IMAGE};
use crate::world::{InstanceState, World};

/// The longest form or JSON body that is read as a whole; AWS's own limits are far below.
const LONGEST: usize = 50 * 1024 * 1024;

/// What the gateway knows beyond moto.
#[derive(Debug, Default)]
pub struct State {
    raw: Raw,
    overlay: Overlay,
    images: Images,
    addresses: Addresses,
    /// Instances that have got what their launch template says.
    amended: BTreeSet<String>,
}

/// The one endpoint of a cloud.
pub struct Gateway {
    cloud: Cloud,
    moto: Client,
    calls: Recorder,
    bodies: Bodies,
    plane: Arc<Plane>,
    commands: Arc<crate::ssm::Service>,
    state: Mutex<State>,
    faults: Faults,
    eye: tokio::sync::Mutex<Eye>,
    tokens: tokio::sync::Mutex<Tokens>,
    publishing: tokio::sync::Mutex<()>,
    world: Arc<watch::Sender<Arc<World>>>,
    look_now: Notify,
    follow_now: Notify,
}

/// What `serve` puts together.
pub struct Given {
    /// Which cloud.
    pub cloud: Cloud,
    /// Its control plane.
    pub moto: Client,
    /// The record of calls.
    pub calls: Recorder,
    /// The bodies.
    pub bodies: Bodies,
    /// The balancers' data plane.
    pub plane: Arc<Plane>,
    /// Run Command.
    pub commands: Arc<crate::ssm::Service>,
    /// Where the world is told to all who watch it.
    pub world: Arc<watch::Sender<Arc<World>>>,
}

impl Gateway {
    /// A gateway that has not looked at moto yet.
    #[must_use]
    pub fn new(given: Given) -> Arc<Self> {
        let Given { cloud, moto, calls, bodies, plane, commands, world } = given;
        let state = State { addresses: Addresses::read(&cloud.home), ..State::default() };
        Arc::new(Gateway {
            eye: tokio::sync::Mutex::new(Eye::new(moto.clone())),
            state: Mutex::new(state),
            faults: Faults::default(),
            tokens: tokio::sync::Mutex::default(),
            publishing: tokio::sync::Mutex::default(),
            look_now: Notify::new(),
            follow_now: Notify::new(),
            cloud,
            moto,
            calls,
            bodies,
            plane,
            commands,
            world,
        })
    }

    /// The world, each time it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<World>> {
        self.world.subscribe()
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The state an instance shows; pending where no look has seen it yet.
    fn shown(&self, id: &str) -> InstanceState {
        self.state(|state| {
            let wanted = state.raw.instances.iter().find(|instance| instance.id == id);
            wanted.map_or(InstanceState::Pending, |instance| state.overlay.shown(id, instance.state))
        })
    }

    /// Something may have changed in moto.
    fn changed(&self) {
        self.look_now.notify_one();
    }

    /// Gives the base images their bodies and finds those of the images that moto has.
    ///
    /// # Errors
    /// Where podman or moto can't be asked.
    pub async fn find_images(&self) -> Result<()> {
        for (base, image) in [("debian-12", DEBIAN_IMAGE), ("debian-12-ssm", DEBIAN_SSM_IMAGE)] {
            if !self.bodies.has_image(image).await? {
                self.bodies.copy(base, image).await?;
            }
        }
        let answer = self
            .moto
            .query(Service::Ec2, Params::action("DescribeImages"))
            .await
            .or_fail(|| Failure::aws("can't ask moto for the images"))?;
        for item in answer.list(&["imagesSet"]) {
            let id = item.get(&["imageId"]).to_owned();
            if self.bodies.has_image(&id).await? {
                self.state(|state| state.images.ready.insert(id));
            } else {
                let why = "the rehearsal was stopped before the image's body was there".to_owned();
                self.state(|state| state.images.failed.insert(id, why));
            }
        }
        // Deregistered before this start: an instance may run from it still.
        let bodies = self.bodies.images().await?;
        self.state(|state| {
            let Images { ready, doomed, .. } = &mut state.images;
            doomed.extend(bodies.into_iter().filter(|id| !ready.contains(id)));
        });
        Ok(())
    }

    /// Takes connections until the process ends.
    pub async fn serve_forever(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, peer)) = listener.accept().await else {
                // Out of file descriptors, most likely: others will end.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            let gateway = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    // On a task of its own: a caller that hangs up does not end what AWS has begun for it.
                    let answered = tokio::spawn(Arc::clone(&gateway).answer(request, peer));
                    async move { answered.await.unwrap_or(Err(Killed)) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: SocketAddr) -> Result<Response<Body>, Killed> {
        let (began, time) = (Instant::now(), jiff::Timestamp::now().to_string());
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        if let Some(of_itself) = path.strip_prefix("/_rehearse/") {
            let of_itself = of_itself.to_owned();
            return Ok(self.of_itself(&of_itself, &parts, body).await);
        }
        if path.starts_with("/moto-api") {
            let reset = parts.method == Method::POST && path == "/moto-api/reset";
            let response = self.pass_on(parts, whole_or_streamed(body)).await;
            if reset {
                self.reset().await;
            }
            return Ok(response);
        }
        let (form, body) = match read_form(&parts, body).await {
            Ok(read) => read,
            Err(refusal) => return Ok(refusal.answer(Protocol::Query, &request_id(Protocol::Query))),
        };
        let asked = Asked::of(&parts, form.as_ref());
        let id = request_id(asked.protocol);
        let object = (asked.service == "s3").then(|| parts.uri.path().trim_start_matches('/').to_owned());
        let from = self.whereabouts(peer.ip());
        let Strike { delay, refusal, kill, by } = self.faults.strike(&asked, object.as_deref(), from == From::Steps);
        tokio::time::sleep(delay).await;
        let served = match (kill, refusal) {
            (Some(When::Before), _) => None,
            (_, Some(refusal)) => Some(refused(body, refusal).await),
            (_, None) => Some(self.serve(&asked, parts, form, body, &id).await),
        };
        let answer = served.map(|served| match served {
            Ok(served) => served,
            Err(refusal) => (refusal.answer(asked.protocol, &id), Some(refusal.code)),
        });
        if asked.may_change_bodies() {
            self.changed();
        }
        let (response, error) = answer.unzip();
        let mut recording = Recording {
            calls: self.calls.clone(),
            began,
            call: Some(Call {
                time,
                service: asked.service,
                action: asked.action,
                object,
                status: response.as_ref().map_or(0, |response| response.status().as_u16()),
                ms: 0.0,
                error: error.flatten(),
                region: asked.region,
                key: asked.key,
                from,
                request_id: id,
                faults: by,
            }),
        };
        let (Some(response), None) = (response, kill) else {
            self.kill_caller(peer).await;
            recording.without_an_answer();
            return Err(Killed);
        };
        // The answer's end, wherever it streams from, ends the recording.
        Ok(response.map(|body| {
            body.map_frame(move |frame| {
                let _until_the_end = &recording;
                frame
            })
            .boxed()
        }))
    }

    fn whereabouts(&self, caller: IpAddr) -> From {
        if caller == self.cloud.steps_address() {
            From::Steps
        } else if caller == self.cloud.instances_address() {
            From::Instance
        } else {
            From::Machine
        }
    }

    async fn serve(
        self: &Arc<Self>,
        asked: &Asked,
        parts: Parts,
        form: Option<Params>,
        body: Body,
        id: &str,
    ) -> Result<(Response<Body>, Option<String>), Refusal> {
        if asked.service == "s3" {
            let query = Params::parse(parts.uri.query().unwrap_or_default().as_bytes());
            presigned::in_time(&query, jiff::Timestamp::now())?;
        }
        if asked.service == "ssm" && asked.protocol == Protocol::Json11 {
            return self.serve_ssm(asked, parts, body, id).await;
        }
        if let Some(params) = &form {
            let answer = match self.describe_stale(asked, params).await {
                None => self.query(asked, params.clone()).await,
                stale => stale,
            };
            if let Some(answer) = answer {
                let node = answer?;
                self.note_makers(asked, &node);
                return Ok((xml(node, asked.protocol, id), None));
            }
        }
        self.forward(asked, parts, body, id).await
    }

    /// The calls of the query protocol that are not moto's alone.
    async fn query(self: &Arc<Self>, asked: &Asked, params: Params) -> Option<Result<Node, Refusal>> {
        let service = asked.service.as_str();
        if !matches!(service, "ec2" | "autoscaling" | "elasticloadbalancing") {
            return None;
        }
        let action = asked.action.as_str();
        let region = asked.region.as_ref().unwrap_or(&self.cloud.region);
        let here = *region == self.cloud.region;
        if !here && let Some(refusal) = elsewhere(action, &self.cloud.region) {
            return Some(Err(refusal));
        }
        // A dry run makes nothing: moto judges it.
        if params.is_true("DryRun") {
            return None;
        }
        // Images and snapshots stand in every region, though they have bodies only here.
        let there = self.moto.at(region);
        match (service, action) {
            ("ec2", "CopyImage") => return Some(self.copy_image(&there, params).await),
            ("ec2", "DeregisterImage") => return Some(self.deregister_image(&there, params).await),
            ("ec2", "DescribeImages") => return Some(self.describe_images(&there, params).await),
            ("ec2", "DescribeSnapshots") => return Some(self.describe_snapshots(&there, params).await),
            _ if !here => return None,
            _ => {}
        }
        Some(match (service, action) {
            ("ec2", "RunInstances") => self.run_instances(params, asked.key.as_deref()).await,
            ("ec2", "StartInstances" | "StopInstances" | "TerminateInstances") => {
                self.change_state(action, params).await
            }
            ("ec2", "RebootInstances") => self.reboot(params).await,
            ("ec2", "DescribeInstances") => self.describe_instances(params).await,
            ("ec2", "DescribeInstanceStatus") => self.describe_instance_status(params).await,
            ("ec2", "ModifyInstanceAttribute") => self.modify_instance_attribute(params).await,
            ("ec2", "GetConsoleOutput") => self.console_output(params).await,
            ("ec2", "CreateImage") => self.create_image(params).await,
            ("ec2", "RegisterImage" | "ImportImage" | "ImportSnapshot") => {
                Err(Refusal::unsupported("the rehearsal makes images of instances only, by CreateImage and CopyImage"))
            }
            ("ec2", "CreateFleet" | "RequestSpotInstances" | "RequestSpotFleet") => {
                Err(Refusal::unsupported("the rehearsal launches instances by RunInstances and Auto Scaling only"))
            }
            ("autoscaling", "CreateAutoScalingGroup" | "UpdateAutoScalingGroup") => self.change_group(params).await,
            ("autoscaling", "PutScheduledUpdateGroupAction" | "BatchPutScheduledUpdateGroupAction") => {
                return groups::schedulable(&params).err().map(Err);
            }
            ("autoscaling", "DescribeAutoScalingGroups" | "DescribeAutoScalingInstances") => {
                self.describe_groups(params).await
            }
            // Classic balancers share the name and differ in the version.
            ("elasticloadbalancing", _) if params.get("Version") == Some("2012-06-01") => {
                return (!action.starts_with("Describe"))
                    .then(|| Err(Refusal::unsupported("the rehearsal has no classic load balancers")));
            }
            ("elasticloadbalancing", "DescribeTargetHealth") => self.target_health(params).await,
            ("elasticloadbalancing", "DescribeLoadBalancers") => self.describe_load_balancers(params).await,
            ("elasticloadbalancing", _) => return edge::served(action, &params).err().map(Err),
            _ => return None,
        })
    }

    async fn serve_ssm(
        &self,
        asked: &Asked,
        parts: Parts,
        body: Body,
        id: &str,
    ) -> Result<(Response<Body>, Option<String>), Refusal> {
        let bytes = collect(body).await?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let region = asked.region.as_ref().unwrap_or(&self.cloud.region);
        let here = *region == self.cloud.region;
        let served = if crate::ssm::Service::owns(&asked.action) {
            if !here {
                return Err(Refusal::unsupported(format!(
                    "the rehearsal has agents only in {}: {} in another region reaches nothing",
                    self.cloud.region, asked.action
                )));
            }
            let answer = self.commands.call(&asked.action, value).await;
            Some(answer.map_err(|error| {
                let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
                Refusal::new(status, error.code, error.message)
            }))
        } else {
            self.public_parameter(region, &asked.action, &value).await
        };
        match served {
            None => self.forward(asked, parts, full(bytes), id).await,
            Some(answer) => {
                let mut response = Response::new(full(answer?.to_string()));
                let kind = HeaderValue::from_static("application/x-amz-json-1.1");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                stamp(&mut response, asked.protocol, id);
                Ok((response, None))
            }
        }
    }

    /// Whether an instance's agent is online, as DescribeInstanceInformation says.
    async fn agent_online(&self, instance: &str) -> bool {
        let ask = json!({"Filters": [{"Key": "InstanceIds", "Values": [instance]}]});
        let answer = self.commands.call("DescribeInstanceInformation", ask).await.unwrap_or_default();
        answer["InstanceInformationList"][0]["PingStatus"] == "Online"
    }

    /// Passes a call on to moto and its answer back.
    async fn forward(
        &self,
        asked: &Asked,
        mut parts: Parts,
        body: Body,
        id: &str,
    ) -> Result<(Response<Body>, Option<String>), Refusal> {
        let head = parts.method == Method::HEAD;
        if asked.service == "s3" && parts.method == Method::PUT && request::is_form(&parts.headers) {
            // Moto 5.2 reads such a body as a form and stores an empty object; Python's urllib says form unless told.
            parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("binary/octet-stream"));
        }
        let mut response = self.pass_on(parts, body).await;
        let status = response.status();
        let html = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        if status.is_server_error() && html {
            return Err(Refusal::moto(&format!("{} {}", asked.service, asked.action), status.as_str()));
        }
        let moto_id = response.headers().get("x-amzn-requestid").and_then(|id| id.to_str().ok()).map(str::to_owned);
        stamp(&mut response, asked.protocol, id);
        let streamed = asked.service == "s3" && status.is_success();
        if streamed || !status.is_client_error() && !matches!(asked.protocol, Protocol::Ec2 | Protocol::Query) {
            return Ok((response, None));
        }
        let (mut parts, body) = response.into_parts();
        let bytes = collect(body).await?;
        if asked.service == "s3" && status == StatusCode::FORBIDDEN && bytes.is_empty() && !head {
            // Moto says nothing to those who ask without a name.
            return Err(Refusal::new(status, "AccessDenied", "Access Denied"));
        }
        let error = status.is_client_error().then(|| error_code(&parts, &bytes)).flatten();
        let text = with_request_id(&bytes, moto_id.as_deref(), id);
        parts.headers.remove(TRANSFER_ENCODING);
        if parts.headers.contains_key(CONTENT_LENGTH) && !head {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        }
        Ok((Response::from_parts(parts, full(text)), error))
    }

    async fn pass_on(&self, mut parts: Parts, body: Body) -> Response<Body> {
        parts.headers.remove(EXPECT);
        for name in HOP_BY_HOP {
            parts.headers.remove(name);
        }
        match self.moto.forward(Request::from_parts(parts, body)).await {
            Ok(response) => {
                let mut response = response.map(whole_or_streamed);
                for name in HOP_BY_HOP {
                    response.headers_mut().remove(name);
                }
                response
            }
            Err(error) => {
                let refusal = Refusal::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailable",
                    format!("the rehearsal's control plane does not answer: {error}"),
                );
                refusal.answer(Protocol::Query, &request_id(Protocol::Query))
            }
        }
    }

    async fn of_itself(self: &Arc<Self>, path: &str, parts: &Parts, body: Incoming) -> Response<Body> {
        let answer = match path {
            "health" => Ok(self.health_of_itself()),
            "status" => self.status().await,
            "faults" => {
                let query = Params::parse(parts.uri.query().unwrap_or_default().as_bytes());
                match collect(whole_or_streamed(body)).await {
                    Ok(body) => self.faults_of_itself(&parts.method, &query, &body).await,
                    Err(refusal) => Err(refusal),
                }
            }
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, "NotFound", format!("there is no /_rehearse/{path}"))),
        };
        match answer {
            Ok(value) => {
                let mut response = Response::new(full(value.to_string()));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(refusal) => refusal.answer(Protocol::RestJson, ""),
        }
    }

    /// After `/moto-api/reset`: the bodies go, the bases come back.
    async fn reset(&self) {
        *self.tokens.lock().await = Tokens::default();
        self.faults.reset();
        self.eye.lock().await.forget_all();
        self.state(|state| {
            let addresses = std::mem::take(&mut state.addresses);
            *state = State { addresses, ..State::default() };
        });
        let cleared = self.bodies.clear().await;
        let found = self.find_images().await;
        for failure in [cleared, found].into_iter().filter_map(Result::err) {
            crate::serve::say(format_args!("after the reset: {}", failure.report()));
        }
        if let Err(failure) = crate::serve::seed(&self.cloud, &self.moto).await {
            crate::serve::say(format_args!("after the reset: {}", failure.report()));
        }
        self.changed();
    }
}

const HOP_BY_HOP: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::UPGRADE,
];

/// What can't be done truthfully in a region without bodies.
fn elsewhere(action: &str, region: &str) -> Option<Refusal> {
    let needs_bodies = [
        "RunInstances",
        "StartInstances",
        "CreateFleet",
        "RequestSpotInstances",
        "RequestSpotFleet",
        "CreateImage",
        "RegisterImage",
        "CreateAutoScalingGroup",
        "UpdateAutoScalingGroup",
        "CreateLoadBalancer",
    ];
    needs_bodies.contains(&action).then(|| {
        Refusal::unsupported(format!(
            "the rehearsal gives bodies only in {region}: {action} in another region makes nothing"
        ))
    })
}

fn whole_or_streamed(body: Incoming) -> Body {
    body.map_err(std::io::Error::other).boxed()
}

/// The form of a query-protocol request, and the body again.
async fn read_form(parts: &Parts, body: Incoming) -> Result<(Option<Params>, Body), Refusal> {
    let form = parts.method == Method::POST && parts.uri.path() == "/" && request::is_form(&parts.headers);
    if !form {
        return Ok((request::query_form(parts), whole_or_streamed(body)));
    }
    let bytes = collect(whole_or_streamed(body)).await?;
    Ok((Some(Params::parse(&bytes)), full(bytes)))
}

/// A refusal, once the caller has sent all it has: S3 answers an upload so, and who is cut off while sending reads no answer.
async fn refused<T>(mut body: Body, refusal: Refusal) -> Result<T, Refusal> {
    while let Some(Ok(_)) = body.frame().await {}
    Err(refusal)
}

async fn collect(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, LONGEST).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(Refusal::client("RequestEntityTooLarge", format!("the body can't be read: {error}"))),
    }
}

fn xml(mut node: Node, protocol: Protocol, id: &str) -> Response<Body> {
    match protocol {
        Protocol::Ec2 => {
            // EC2's request id comes first.
            node.remove("requestId");
            node.children.insert(0, Node::leaf("requestId", id));
        }
        _ => node.put(Node::new("ResponseMetadata", vec![Node::leaf("RequestId", id)])),
    }
    let mut response = Response::new(full(node.document()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml;charset=UTF-8"));
    stamp(&mut response, protocol, id);
    response
}

/// Moto's request ids, `request-id` among them, in the answer's text.
fn with_request_id(bytes: &Bytes, moto_id: Option<&str>, id: &str) -> Bytes {
    let Ok(text) = std::str::from_utf8(bytes) else { return bytes.clone() };
    let text = text.replace(">request-id<", &format!(">{id}<"));
    let text = match moto_id {
        Some(moto_id) if !moto_id.is_empty() => text.replace(moto_id, id),
        _ => text,
    };
    Bytes::from(text)
}

fn error_code(parts: &http::response::Parts, bytes: &[u8]) -> Option<String> {
    let json = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().windows(4).any(|w| w == b"json"));
    if json {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let code = ["__type", "code", "Code"].iter().find_map(|name| value[*name].as_str())?;
        return code.rsplit('#').next().map(str::to_owned);
    }
    let node = Node::parse(bytes).ok()?;
    let code = Refusal::read(parts.status, &node, "").code;
    (code != "NotImplemented").then_some(code)
}

/// The caller was killed: its connection is cut, without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the caller was killed")]
struct Killed;

/// Records the call when the answer has been sent, or given up.
struct Recording {
    calls: Recorder,
    began: Instant,
    call: Option<Call>,
}

impl Recording {
    /// The caller gets none.
    fn without_an_answer(&mut self) {
        if let Some(call) = &mut self.call {
            call.status = 0;
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(mut call) = self.call.take() {
            call.ms = (self.began.elapsed().as_secs_f64() * 1e5).round() / 100.0;
            self.calls.record(call);
        }
    }
}
