//! Asking moto as any client would: query-protocol requests with made-up credentials.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::xml::Node;
use crate::gateway::params::Params;
use crate::gateway::refusal::{Body, Refusal, full};

/// How long one request may take: moto answers in 20 ms, the first one to a service in a second.
const DEADLINE: Duration = Duration::from_secs(30);

/// The services that the gateway itself asks, with the version of their query protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// EC2.
    Ec2,
    /// Elastic Load Balancing v2.
    Elb,
    /// EC2 Auto Scaling.
    AutoScaling,
}

impl Service {
    /// As in the credential scope.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Service::Ec2 => "ec2",
            Service::Elb => "elasticloadbalancing",
            Service::AutoScaling => "autoscaling",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Service::Ec2 => "2016-11-15",
            Service::Elb => "2015-12-01",
            Service::AutoScaling => "2011-01-01",
        }
    }
}

/// A way to moto.
#[derive(Clone, Debug)]
pub struct Client {
    port: u16,
    region: String,
    pool: Pool<HttpConnector, Body>,
}

impl Client {
    /// To moto at a loopback port; the gateway's own questions are about `region`.
    #[must_use]
    pub fn new(port: u16, region: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let pool = Pool::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(20)).build(connector);
        Client { port, region: region.to_owned(), pool }
    }

    /// The same moto, asked about another region.
    #[must_use]
    pub fn at(&self, region: &str) -> Self {
        Client { region: region.to_owned(), ..self.clone() }
    }

    /// The region that questions are about.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Passes a request on as it is, with its `Host`: moto tells virtual-host buckets by it.
    ///
    /// # Errors
    /// When moto can't be reached.
    pub async fn forward(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
        if let Ok(uri) = format!("http://127.0.0.1:{}{path}", self.port).parse() {
            *request.uri_mut() = uri;
        }
        *request.version_mut() = http::Version::HTTP_11;
        self.pool.request(request).await
    }

    /// Sends a whole request signed by nobody and reads the whole answer.
    ///
    /// # Errors
    /// When moto doesn't answer in time.
    pub async fn send(
        &self,
        method: Method,
        service: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Refusal> {
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAREHEARSAL/20260101/{}/{service}/aws4_request, SignedHeaders=host, Signature=0",
            self.region
        );
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("127.0.0.1:{}", self.port))
            .header(AUTHORIZATION, scope);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(full(body)).map_err(|e| Refusal::moto(service, &e.to_string()))?;
        let answer = async {
            let response = self.forward(request).await.map_err(|e| Refusal::moto(service, &e.to_string()))?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|e| Refusal::moto(service, &e.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(DEADLINE, answer)
            .await
            .unwrap_or_else(|_| Err(Refusal::moto(service, "no answer within 30 s")))
    }

    /// Asks by the query protocol.
    ///
    /// # Errors
    /// The AWS error that moto gave, or one that says that moto failed.
    pub async fn query(&self, service: Service, params: Params) -> Result<Node, Refusal> {
        let action = params.get("Action").unwrap_or_default().to_owned();
        let params = params.or("Version", service.version());
        let form = [(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded; charset=utf-8")];
        let body = Bytes::from(params.form());
        let (status, body) = self.send(Method::POST, service.name(), "/", &form, body).await?;
        let node = Node::parse(&body).map_err(|_| Refusal::moto(&action, status.as_str()))?;
        if status.is_success() { Ok(node) } else { Err(Refusal::read(status, &node, &action)) }
    }

    /// Asks by AWS JSON 1.1, the way of SSM.
    ///
    /// # Errors
    /// The AWS error that moto gave, or one that says that moto failed.
    pub async fn json(&self, service: &str, target: &str, body: &Value) -> Result<Value, Refusal> {
        let headers = [(CONTENT_TYPE.as_str(), "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let (status, body) = self.send(Method::POST, service, "/", &headers, Bytes::from(body.to_string())).await?;
        let value: Value = serde_json::from_slice(&body).map_err(|_| Refusal::moto(target, status.as_str()))?;
        if status.is_success() {
            return Ok(value);
        }
        let text = |names: [&str; 2]| names.iter().find_map(|n| value[*n].as_str()).unwrap_or_default().to_owned();
        let code = text(["__type", "code"]);
        Err(Refusal::new(status, code.rsplit('#').next().unwrap_or_default(), text(["message", "Message"])))
    }
}
