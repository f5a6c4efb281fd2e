//! Every AWS call, one JSON line each, in the cloud's `calls.jsonl`.

use std::path::{Path, PathBuf};

use gyron_core::failure::{Failure, OrFail, Result};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// When it came, RFC 3339, UTC.
    pub time: String,
    /// `ec2`, `s3` …
    pub service: String,
    /// `RunInstances` …
    pub action: String,
    /// S3's bucket and key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The HTTP status of the answer; 0 where the caller was killed and got none.
    pub status: u16,
    /// From the request's head to the answer's end, in milliseconds.
    pub ms: f64,
    /// AWS's error code, of an answer that is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The region it was signed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The access key that signed it, in the header or beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where the caller is.
    #[serde(default)]
    pub from: From,
    /// The request id in the answer.
    pub request_id: String,
    /// The faults that hit it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// Where a caller is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// In the network of the steps.
    Steps,
    /// On an instance.
    Instance,
    /// Elsewhere on this machine.
    #[default]
    Machine,
}

/// Where the calls are written.
#[must_use]
pub fn file(home: &Path) -> PathBuf {
    home.join("calls.jsonl")
}

/// Takes calls and writes them in the order in which they ended.
#[derive(Clone, Debug)]
pub struct Recorder(mpsc::UnboundedSender<Call>);

impl Recorder {
    /// Appends to the cloud's file.
    ///
    /// # Errors
    /// Where the file can't be opened.
    pub async fn start(home: &Path) -> Result<Self> {
        let path = file(home);
        let mut out = tokio::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .await
            .or_fail(|| Failure::program(format!("can't write {}", path.display())))?;
        let (calls, mut taken) = mpsc::unbounded_channel::<Call>();
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(64);
            while taken.recv_many(&mut batch, 64).await > 0 {
                let mut lines = Vec::new();
                for call in batch.drain(..) {
                    if serde_json::to_writer(&mut lines, &call).is_ok() {
                        lines.push(b'\n');
                    }
                }
                // A full disk must not stop the cloud.
                let _ = out.write_all(&lines).await;
                let _ = out.flush().await;
            }
        });
        Ok(Recorder(calls))
    }

    /// Records a call.
    pub fn record(&self, call: Call) {
        let _ = self.0.send(call);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_is_one_line() {
        let home = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(home.path()).await.unwrap();
        let call = Call {
            time: "2026-11-23T14:00:00Z".to_owned(),
            service: "ec2".to_owned(),
            action: "RunInstances".to_owned(),
            object: None,
            status: 200,
            ms: 21.5,
            error: None,
            region: Some("us-east-1".to_owned()),
            key: Some("AKIA1".to_owned()),
            from: From::Steps,
            request_id: "x".to_owned(),
            faults: Vec::new(),
        };
        recorder.record(call.clone());
        recorder.record(call.clone());
        drop(recorder);
        let mut lines = Vec::new();
        for _ in 0..200 {
            let text = std::fs::read_to_string(file(home.path())).unwrap();
            lines = text.lines().map(str::to_owned).collect();
            if lines.len() == 2 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(
            lines[0],
            r#"{"time":"2026-11-23T14:00:00Z","service":"ec2","action":"RunInstances","status":200,"ms":21.5,"region":"us-east-1","key":"AKIA1","from":"steps","request_id":"x"}"#
        );
        assert_eq!(serde_json::from_str::<Call>(&lines[1]).unwrap(), call);
    }
}
