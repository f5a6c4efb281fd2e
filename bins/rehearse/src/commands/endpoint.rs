//! The daemon's own pages, under `/_rehearse/` of the endpoint.

use std::time::Duration;

use bytes::Bytes;
use gyron_core::failure::{Failure, OrFail, Result};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::flag;
use crate::cloud::Cloud;

/// What a page says. Behind a transparent proxy every connect succeeds, so only content counts.
///
/// # Errors
/// Where nobody answers, or with something else than JSON.
pub async fn get(cloud: &Cloud, page: &str) -> Result<Value> {
    ask(cloud, Method::GET, page, None).await
}

/// Asks a page to do something.
///
/// # Errors
/// As [`get`]; usage (2) with what the daemon says against it.
pub async fn ask(cloud: &Cloud, method: Method, page: &str, body: Option<&Value>) -> Result<Value> {
    let url = format!("{}/_rehearse/{page}", cloud.endpoint_url());
    let mend = format!("gyron-rehearse{} up   mends a cloud", flag(&cloud.name));
    let silent = || Failure::refused(format!("{url} does not answer")).hint(mend.clone());
    let asked = async {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder().method(method).uri(&url).body(Full::new(body));
        let request = request.or_fail(|| Failure::defect("can't read our own URL"))?;
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let answer = client.request(request).await.or_fail(silent)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), 16 << 20).collect().await.or_fail(silent)?.to_bytes();
        if matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND)
            && let Some(why) =
                serde_json::from_slice::<Value>(&body).ok().as_ref().and_then(|it| it["message"].as_str())
        {
            return Err(Failure::usage(why));
        }
        if !status.is_success() {
            return Err(Failure::refused(format!("{url} answers {status}")).hint(mend.clone()));
        }
        serde_json::from_slice(&body).or_fail(|| Failure::refused(format!("{url} is no gyron-rehearse")))
    };
    tokio::time::timeout(Duration::from_secs(10), asked).await.map_err(|_| silent())?
}

/// Whether the daemon of this very cloud answers.
pub async fn is_healthy(cloud: &Cloud) -> bool {
    get(cloud, "health")
        .await
        .is_ok_and(|health| health["cloud"] == cloud.name.as_str() && health["endpoint"] == cloud.endpoint_url())
}
