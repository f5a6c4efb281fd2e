//! Where AWS's services are for these clients, for whoever calls them without an SDK: a builder that fetches its own secrets.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_ssm::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use crate::aws::{Aws, OrAws as _};
use crate::failure::{Failure, OrFail as _, Result};

/// The endpoint of Systems Manager, without a slash at its end.
///
/// The SDK tells nobody what it has resolved from variables, profile and region; so a call is prepared whose address is looked
/// at, and which is never sent.
///
/// # Errors
/// Usage (2): there are no credentials.
pub async fn ssm(aws: &Aws) -> Result<String> {
    let seen = Seen::default();
    let prepared = aws.ssm.get_parameter().name("/").customize().interceptor(seen.clone()).send().await;
    let uri = seen.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    match uri {
        Some(uri) => Ok(uri.trim_end_matches('/').to_owned()),
        None => prepared
            .or_aws("GetParameter")
            .and_then(|_| Err(Failure::defect("the endpoint of Systems Manager can't be known"))),
    }
}

/// The endpoint of Secrets Manager: `AWS_ENDPOINT_URL_SECRETS_MANAGER`, else the one endpoint of all services where there is one,
/// else the region's own.
///
/// Both services are called alike in every partition
/// (docs.aws.amazon.com/general/latest/gr/asm.html, docs.aws.amazon.com/general/latest/gr/ssm.html).
///
/// # Errors
/// As [`ssm`].
pub async fn secrets_manager(aws: &Aws) -> Result<String> {
    if let Ok(own) = std::env::var("AWS_ENDPOINT_URL_SECRETS_MANAGER") {
        return Ok(own.trim_end_matches('/').to_owned());
    }
    let unknown = || Failure::defect(format!("Systems Manager has no endpoint in {}", aws.region));
    let params = Params::builder().region(&aws.region).build().or_fail(unknown)?;
    let public = DefaultResolver::new().resolve_endpoint(&params).await.or_fail(unknown)?;
    let here = ssm(aws).await?;
    Ok(if here == public.url() { here.replacen("://ssm.", "://secretsmanager.", 1) } else { here })
}

/// Looks at a request on its way out, and ends it there.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Option<String>>>);

#[dyn_dispatch_hint]
impl Intercept for Seen {
    fn name(&self) -> &'static str {
        "Seen"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.request().uri().to_owned());
        Err("only its address was wanted".into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may")]

    use aws_sdk_ssm::config::{Credentials, Region};

    use super::*;
    use crate::console::Console;
    use crate::patience::Patience;
    use crate::stop::Stop;

    async fn endpoints(region: &str, url: Option<&str>) -> (String, String) {
        let mut aws = Aws::connect(region, Patience::new(&Console::new(), &Stop::never())).await;
        let config = aws_sdk_ssm::Config::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .credentials_provider(Credentials::new("id", "key", None, None, "test"));
        aws.ssm = aws_sdk_ssm::Client::from_conf(match url {
            Some(url) => config.endpoint_url(url).build(),
            None => config.build(),
        });
        (ssm(&aws).await.unwrap(), secrets_manager(&aws).await.unwrap())
    }

    #[tokio::test]
    async fn both_are_the_regions_own_unless_one_endpoint_serves_all() {
        let pair = |ssm: &str, secrets: &str| (ssm.to_owned(), secrets.to_owned());
        assert_eq!(
            endpoints("ap-northeast-1", None).await,
            pair("https://ssm.ap-northeast-1.amazonaws.com", "https://secretsmanager.ap-northeast-1.amazonaws.com")
        );
        assert_eq!(
            endpoints("cn-north-1", None).await,
            pair("https://ssm.cn-north-1.amazonaws.com.cn", "https://secretsmanager.cn-north-1.amazonaws.com.cn")
        );
        let one = "http://198.18.0.1:4566";
        assert_eq!(endpoints("us-east-1", Some(one)).await, pair(one, one));
    }
}
