//! AWS clients, made in one place, and AWS's errors in words.

use std::error::Error;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::config::retry::{RetryPartition, TokenBucket};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::failure::{Failure, Result};
use crate::patience::{ATTEMPTS, LONGEST_PAUSE, Patience};

/// The clients a step uses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Aws {
    /// The region of all of them.
    pub region: String,
    /// Auto Scaling groups.
    pub autoscaling: aws_sdk_autoscaling::Client,
    /// Instances and images.
    pub ec2: aws_sdk_ec2::Client,
    /// Balancers, rules, target groups.
    pub elb: aws_sdk_elasticloadbalancingv2::Client,
    /// Releases, records, states.
    pub s3: aws_sdk_s3::Client,
    /// Commands on instances, public parameters.
    pub ssm: aws_sdk_ssm::Client,
    /// How long their calls are asked again.
    pub patience: Patience,
}

impl Aws {
    /// Makes the clients: credentials and endpoints by the SDK's own rules (`AWS_PROFILE`, web identity,
    /// `AWS_ENDPOINT_URL` …), the region from gyron.toml.
    pub async fn connect(region: &str, patience: Patience) -> Self {
        let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .http_client(https)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_max_backoff(LONGEST_PAUSE))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5))
                    .read_timeout(Duration::from_secs(60))
                    .build(),
            )
            .load()
            .await;
        // The SDK's own quota of retries ends long before a storm does.
        let unlimited = RetryPartition::custom("gyron").token_bucket(TokenBucket::unlimited()).build();
        macro_rules! client {
            ($service:ident) => {{
                let builder = $service::config::Builder::from(&config).interceptor(patience.clone());
                $service::Client::from_conf(builder.retry_partition(unlimited.clone()).build())
            }};
        }
        Aws {
            region: region.to_owned(),
            autoscaling: client!(aws_sdk_autoscaling),
            ec2: client!(aws_sdk_ec2),
            elb: client!(aws_sdk_elasticloadbalancingv2),
            s3: client!(aws_sdk_s3),
            ssm: client!(aws_sdk_ssm),
            patience,
        }
    }

    /// The same clients in another region: same credentials, same connections.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let to = Region::new(region.to_owned());
        Aws {
            region: region.to_owned(),
            autoscaling: aws_sdk_autoscaling::Client::from_conf(
                self.autoscaling.config().to_builder().region(to.clone()).build(),
            ),
            ec2: aws_sdk_ec2::Client::from_conf(self.ec2.config().to_builder().region(to.clone()).build()),
            elb: aws_sdk_elasticloadbalancingv2::Client::from_conf(
                self.elb.config().to_builder().region(to.clone()).build(),
            ),
            s3: aws_sdk_s3::Client::from_conf(self.s3.config().to_builder().region(to.clone()).build()),
            ssm: aws_sdk_ssm::Client::from_conf(self.ssm.config().to_builder().region(to).build()),
            patience: self.patience.clone(),
        }
    }
}

/// Turns the SDK's errors into failures: code, message and request id; never the raw answer.
pub trait OrAws<T> {
    /// Names the action that was asked for.
    ///
    /// # Errors
    /// AWS (4) where AWS refused or can't be reached; usage (2) where there are no credentials.
    fn or_aws(self, action: &str) -> Result<T>;
}

impl<T, E, R> OrAws<T> for Result<T, SdkError<E, R>>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    fn or_aws(self, action: &str) -> Result<T> {
        self.map_err(|error| failure(action, &error))
    }
}

/// The error code of AWS's answer, if it answered.
pub fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

fn failure<E, R>(action: &str, error: &SdkError<E, R>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug + 'static,
{
    if let Some(refusal) = error.as_service_error() {
        let meta = refusal.meta();
        let code = meta.code().unwrap_or("no error code");
        let message = meta.message().unwrap_or("AWS gave no reason").trim_end_matches('.');
        // The SDK keeps the request id among the extras: aws_types::request_id.
        let request = meta.extra("aws_request_id").map(|id| format!(", request {id}")).unwrap_or_default();
        return Failure::aws(format!("AWS refused {action}: {message} ({code}{request})"));
    }
    if let Some(credentials) = find::<CredentialsError>(error) {
        return without_credentials(action, credentials);
    }
    let endpoint = std::env::var("AWS_ENDPOINT_URL").ok();
    let place = endpoint.as_deref().unwrap_or("AWS");
    let reason = match error {
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::ResponseError(_) => "the answer can't be read".to_owned(),
        other => innermost(other),
    };
    let failure = Failure::aws(format!("{place} can't be reached for {action}: {reason}"));
    match endpoint {
        Some(endpoint) => failure.hint(format!("AWS_ENDPOINT_URL is {endpoint}: does anything listen there?")),
        None => failure.hint("look at the network, the region in gyron.toml and the clock of this machine"),
    }
}

fn without_credentials(action: &str, error: &CredentialsError) -> Failure {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => {
            Failure::usage(format!("no AWS credentials for {action}: neither variables, profile nor role gave any"))
                .hint("set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        }
        other => Failure::usage(format!("the AWS credentials for {action} can't be had: {}", innermost(other)))
            .hint("aws sts get-caller-identity shows whether the same credentials work there"),
    }
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string().lines().next().unwrap_or_default().to_owned()
}
