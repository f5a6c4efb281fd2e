//! `ci serve`: the API call by which the real `circleci` CLI compiles a config, answered on this machine.
//!
//! Its `config process` and `config validate` POST to `/api/v3/configs/compile` of `CIRCLE_HOST`, without a token; a config that
//! can't be compiled is an answer (200, outcome `failed`), not an error, and unknown members are refused (the CLI's own
//! `internal/apiclient/config.go`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use gyron_core::failure::{Failure, OrFail, Result};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::orbs::Orbs;
use super::pipeline::Pipeline;
use super::source::Source;
use super::yaml;

/// The longest config that is read; CircleCI's own limit is 3 MB.
const LONGEST: usize = 8 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    data: Data,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    attributes: Attributes,
    #[serde(default)]
    references: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    config: String,
    #[serde(default, rename = "enable_next_preview")]
    _next: bool,
    #[serde(default)]
    pipeline_parameters: BTreeMap<String, Value>,
    #[serde(default)]
    pipeline_values: BTreeMap<String, Value>,
}

/// Answers until the process ends.
///
/// # Errors
/// Usage (2) where the address can't be had.
pub async fn forever(orbs: Arc<dyn Orbs + Send + Sync>, address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await.or_fail(|| Failure::usage(format!("can't listen on {address}")))?;
    let address = listener.local_addr().or_fail(|| Failure::defect("a listener has no address"))?;
    anstream::println!("export CIRCLE_HOST=http://{address}");
    anstream::eprintln!("circleci config process and config validate are answered there, until Ctrl-C");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let orbs = Arc::clone(&orbs);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let orbs = Arc::clone(&orbs);
                async move { Ok::<_, Infallible>(answer(orbs.as_ref(), request).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(orbs: &(dyn Orbs + Send + Sync), request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::POST || request.uri().path() != "/api/v3/configs/compile" {
        let what =
            format!("{} {} is not served here: only a config is compiled", request.method(), request.uri().path());
        return json_response(StatusCode::NOT_FOUND, &errors(&what));
    }
    let Ok(body) = Limited::new(request.into_body(), LONGEST).collect().await else {
        return json_response(StatusCode::PAYLOAD_TOO_LARGE, &errors("the config is too long"));
    };
    match serde_json::from_slice::<Asked>(&body.to_bytes()) {
        Err(error) => json_response(StatusCode::BAD_REQUEST, &errors(&error.to_string())),
        Ok(asked) => json_response(StatusCode::OK, &compiled(orbs, asked)),
    }
}

fn compiled(orbs: &dyn Orbs, asked: Asked) -> Value {
    let Attributes { config, _next: _, pipeline_parameters, pipeline_values } = asked.data.attributes;
    // An organisation would open its private orbs: there are none here.
    let _ = asked.data.references;
    let values = pipeline_values.into_iter();
    // The CLI names them as templates do, CircleCI's own API without the first word.
    let values = values.map(|(name, value)| (name.strip_prefix("pipeline.").unwrap_or(&name).to_owned(), value));
    let pipeline = Pipeline { values: values.collect(), parameters: pipeline_parameters };
    let (outcome, config, messages) = match super::compile(&Source::new("config.yml", config), orbs, &pipeline) {
        Ok(compiled) => ("succeeded", yaml::emit(&compiled.config), Vec::new()),
        Err(faults) => {
            let titles = faults.iter().map(|fault| json!({"title": fault.to_string()})).collect();
            ("failed", String::new(), titles)
        }
    };
    json!({
        "data": {
            "type": "config_compilation",
            "attributes": {"phase": "ended", "outcome": outcome, "compiled_config": config},
        },
        "meta": {"messages": messages},
    })
}

fn errors(title: &str) -> Value {
    json!({"errors": [{"title": title}]})
}

fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
