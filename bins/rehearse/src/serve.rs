//! The daemon: puts the parts of a cloud together and runs them until it is told to stop.

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use gyron_core::failure::{Failure, OrFail, Result};
use http::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::balancer::Plane;
use crate::bodies::Bodies;
use crate::calls::Recorder;
use crate::cloud::{Cloud, ENDPOINT_PORT, METADATA};
use crate::gateway::params::Params;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Gateway, Given};
use crate::moto;
use crate::moto::client::Service;
use crate::netns::Netns;
use crate::resolver;
use crate::world::World;

/// Runs a cloud's daemon in the foreground until SIGTERM or SIGINT; moto and the bodies stay, and the next daemon takes
/// them over.
///
/// # Errors
/// When a part can't start, another daemon of this cloud on its address among the reasons.
pub async fn run(cloud: Cloud) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate()).or_fail(|| Failure::defect("can't wait for SIGTERM"))?;
    let mut interrupted = signal(SignalKind::interrupt()).or_fail(|| Failure::defect("can't wait for SIGINT"))?;
    let running = start(&cloud).await?;
    say(format_args!("{} is up at {}", cloud.name, cloud.endpoint_url()));
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    say(format_args!("stopping; moto and the instances stay"));
    running.plane.stop().await;
    Ok(())
}

struct Running {
    plane: Arc<Plane>,
}

async fn start(cloud: &Cloud) -> Result<Running> {
    let client = moto::start(cloud).await?;
    seed(cloud, &client).await?;
    let inside = Netns::enter(&cloud.instances_netns())
        .or_fail(|| Failure::program(format!("can't enter the namespace {}", cloud.instances_netns())))?;
    let (world, watched) = watch::channel(Arc::new(World::default()));
    let world = Arc::new(world);
    let plane = Arc::new(Plane::new(inside.clone()));
    let commands = crate::ssm::Service::new(cloud, watched.clone());
    let gateway = Gateway::new(Given {
        cloud: cloud.clone(),
        moto: client,
        calls: Recorder::start(&cloud.home).await?,
        bodies: Bodies::new(cloud),
        plane: Arc::clone(&plane),
        commands: Arc::clone(&commands),
        world,
    });
    gateway.find_images().await?;
    // The first look and the first round show at once what a daemon before this one left.
    gateway.look(true).await.or_fail(|| Failure::aws("can't look at moto"))?;
    if let Err(report) = gateway.follow().await {
        say(format_args!("a body can't follow: {report}"));
    }
    let endpoint = SocketAddr::V4(SocketAddrV4::new(cloud.endpoint_address(), ENDPOINT_PORT));
    let listener =
        TcpListener::bind(endpoint).await.or_fail(|| Failure::program(format!("can't listen on {endpoint}")))?;
    let metadata = SocketAddr::V4(SocketAddrV4::new(METADATA, 80));
    let door = inside.listen(metadata).await.or_fail(|| Failure::program(format!("can't listen on {metadata}")))?;
    let state = crate::metadata::State::new(cloud.clone(), watched, commands);
    tokio::spawn(async move {
        if let Err(error) = crate::metadata::run(door, state).await {
            say(format_args!("the metadata service ended: {error}"));
        }
    });
    resolve(cloud, gateway.watch()).await?;
    tokio::spawn(Arc::clone(&gateway).look_forever());
    tokio::spawn(Arc::clone(&gateway).follow_forever());
    tokio::spawn(Arc::clone(&gateway).serve_forever(listener));
    Ok(Running { plane })
}

/// Answers the balancers' names at the endpoint's address, for the steps and the instances.
async fn resolve(cloud: &Cloud, mut world: watch::Receiver<Arc<World>>) -> Result<()> {
    let at = SocketAddr::V4(SocketAddrV4::new(cloud.endpoint_address(), 53));
    let here = Netns::here();
    let taken = || Failure::program(format!("can't listen on {at}"));
    let (udp, tcp) = (here.datagrams(at).await.or_fail(taken)?, here.listen(at).await.or_fail(taken)?);
    let (names, watched) = watch::channel(BTreeMap::new());
    tokio::spawn(async move {
        loop {
            let now: BTreeMap<_, _> =
                world.borrow_and_update().balancers.iter().map(|b| (b.dns_name.clone(), b.addresses.clone())).collect();
            names.send_replace(now);
            if world.changed().await.is_err() {
                return;
            }
        }
    });
    let upstreams = resolver::nameservers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    tokio::spawn(async move {
        let Err(error) = resolver::run(udp, tcp, watched, upstreams).await;
        say(format_args!("the resolver ended: {error}"));
    });
    Ok(())
}

/// Puts into moto what AWS has from the start: the region's public bucket with the SSM agent's package.
///
/// # Errors
/// When moto refuses it or the package can't be made.
pub async fn seed(cloud: &Cloud, client: &moto::client::Client) -> Result<()> {
    let bucket = format!("amazon-ssm-{}", cloud.region);
    let key = format!("/{bucket}/latest/debian_amd64/amazon-ssm-agent.deb");
    let location = match cloud.region.as_str() {
        "us-east-1" => Bytes::new(),
        region => Bytes::from(format!(
            "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        )),
    };
    put(client, &format!("/{bucket}"), location).await?;
    put(client, &key, package(&cloud.home).await?).await?;
    let opened = way_out(client).await;
    opened.or_fail(|| Failure::aws("the default VPC can't be given its internet gateway"))
}

/// The internet gateway and the default route that AWS gives every default VPC, and moto doesn't
/// (docs.aws.amazon.com/vpc/latest/userguide/default-vpc-components.html).
async fn way_out(client: &moto::client::Client) -> Result<(), Refusal> {
    let ask = async |params: Params| client.query(Service::Ec2, params).await;
    if ask(Params::action("DescribeInternetGateways")).await?.list(&["internetGatewaySet"]).next().is_some() {
        return Ok(());
    }
    let by = |name: &str, value: &str| [("Filter.1.Name", name.to_owned()), ("Filter.1.Value.1", value.to_owned())];
    let with = |action: &str, more: &[(&str, String)]| {
        more.iter().fold(Params::action(action), |params, (name, value)| params.and(name, value))
    };
    let vpcs = ask(with("DescribeVpcs", &by("is-default", "true"))).await?;
    let Some(vpc) = vpcs.list(&["vpcSet"]).next().map(|vpc| vpc.get(&["vpcId"]).to_owned()) else { return Ok(()) };
    let tables = ask(with("DescribeRouteTables", &by("vpc-id", &vpc))).await?;
    let table = tables.list(&["routeTableSet"]).next().map(|table| table.get(&["routeTableId"]).to_owned());
    let made = ask(Params::action("CreateInternetGateway")).await?;
    let gateway = made.get(&["internetGateway", "internetGatewayId"]).to_owned();
    ask(Params::action("AttachInternetGateway").and("InternetGatewayId", &gateway).and("VpcId", &vpc)).await?;
    let route = Params::action("CreateRoute").and("RouteTableId", table.unwrap_or_default());
    ask(route.and("DestinationCidrBlock", "0.0.0.0/0").and("GatewayId", &gateway)).await.map(drop)
}

async fn put(client: &moto::client::Client, path: &str, body: Bytes) -> Result<()> {
    let public = [("x-amz-acl", "public-read"), ("content-type", "binary/octet-stream")];
    let (status, _) = client
        .send(Method::PUT, "s3", path, &public, body)
        .await
        .or_fail(|| Failure::aws(format!("can't put {path}")))?;
    // The bucket may be there already, in us-east-1 as a success.
    if status.is_success() || status == StatusCode::CONFLICT {
        return Ok(());
    }
    Err(Failure::aws(format!("can't put {path}: {status}")))
}

async fn package(home: &Path) -> Result<Bytes> {
    let into = home.to_owned();
    let made = tokio::task::spawn_blocking(move || crate::ssm::agent::package(&into))
        .await
        .or_fail(|| Failure::defect("the packaging of the agent broke"))??;
    let bytes = tokio::fs::read(&made).await.or_fail(|| Failure::program(format!("can't read {}", made.display())))?;
    Ok(Bytes::from(bytes))
}

/// A line for the daemon's log, on stderr, with the time.
#[allow(clippy::print_stderr, reason = "the daemon's stderr is its log")]
pub fn say(what: Arguments<'_>) {
    eprintln!("{} {what}", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ"));
}
