//! The public parameter that names Debian's newest image.

use serde_json::{Value, json};

use super::Gateway;
use super::refusal::Refusal;
use crate::moto::DEBIAN_IMAGE;

/// <https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm>
const DEBIAN_PARAMETER: &str = "/aws/service/debian/release/12/latest/amd64";

impl Gateway {
    /// GetParameter and GetParameters where they name the public parameter; none where moto should answer.
    pub(super) async fn public_parameter(
        &self,
        region: &str,
        action: &str,
        body: &Value,
    ) -> Option<Result<Value, Refusal>> {
        let elsewhere = || {
            Refusal::unsupported(format!(
                "the rehearsal has Debian's image only in {}: {DEBIAN_PARAMETER} names none in {region}",
                self.cloud.region
            ))
        };
        match action {
            "GetParameter" if body["Name"] == DEBIAN_PARAMETER && region != self.cloud.region => Some(Err(elsewhere())),
            "GetParameter" if body["Name"] == DEBIAN_PARAMETER => {
                Some(Ok(json!({"Parameter": parameter(&self.cloud.region)})))
            }
            "GetParameters" => {
                let (public, own): (Vec<Value>, Vec<Value>) =
                    body["Names"].as_array()?.iter().cloned().partition(|name| name == DEBIAN_PARAMETER);
                if public.is_empty() {
                    return None;
                }
                if region != self.cloud.region {
                    return Some(Err(elsewhere()));
                }
                Some(self.with_own(own, body).await)
            }
            _ => None,
        }
    }

    async fn with_own(&self, own: Vec<Value>, body: &Value) -> Result<Value, Refusal> {
        let mut answer = if own.is_empty() {
            json!({"Parameters": [], "InvalidParameters": []})
        } else {
            let mut ask = body.clone();
            ask["Names"] = Value::Array(own);
            self.moto.json("ssm", "AmazonSSM.GetParameters", &ask).await?
        };
        if let Some(parameters) = answer["Parameters"].as_array_mut() {
            parameters.push(parameter(&self.cloud.region));
        }
        Ok(answer)
    }
}

fn parameter(region: &str) -> Value {
    json!({
        "Name": DEBIAN_PARAMETER,
        "Type": "String",
        "Value": DEBIAN_IMAGE,
        "Version": 1,
        "LastModifiedDate": 1_767_225_600.0,
        "ARN": format!("arn:aws:ssm:{region}::parameter{DEBIAN_PARAMETER}"),
        "DataType": "text",
    })
}
