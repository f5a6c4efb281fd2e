//! How long ago an object was written, by S3's own clock alone: its `Last-Modified` against the `Date` of the answer that says so.
//! No clock of any machine has to agree with another's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::config::Intercept;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Notes when an answer was given.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered(Arc<Mutex<Option<DateTime>>>);

impl Answered {
    /// How old that was which was last modified then; nothing less where the answer has no date.
    pub(super) fn age(&self, modified: Option<&DateTime>) -> Duration {
        let answered = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = answered.zip(modified).map_or(0, |(answered, modified)| answered.secs() - modified.secs());
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }
}

impl Intercept for Answered {
    fn name(&self) -> &'static str {
        "Answered"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}
