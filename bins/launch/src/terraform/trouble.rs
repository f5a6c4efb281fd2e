//! Terraform's errors as failures.

use gyron_core::exit::Exit;
use gyron_core::failure::Failure;
use regex::Regex;

use super::stream::Diagnostic;

/// Makes a failure of what Terraform complained about: a held lock is a refusal (3), what AWS said is AWS's (4), the
/// rest is Terraform's own (5). `what` is what was being done: `applying green`; `lock` the state lock's object.
#[must_use]
pub fn failure(what: &str, lock: &str, diagnostics: &[Diagnostic]) -> Failure {
    let errors: Vec<_> = diagnostics.iter().filter(|diagnostic| diagnostic.severity == "error").collect();
    if let Some(held) = errors.iter().find(|error| error.summary.contains("acquiring the state lock")) {
        return locked(what, lock, held);
    }
    let texts: Vec<_> = errors.iter().map(|error| text(error)).collect();
    let of_aws = errors.iter().any(|error| aws_error(error).is_some());
    let exit = if of_aws { Exit::Aws } else { Exit::Program };
    let by = if of_aws { "AWS refused what Terraform asked" } else { "terraform failed" };
    Failure::new(exit, format!("{by} while {what}")).detail(texts.join("\n"))
}

/// The words of `terraform init`, which writes no stream: its `Error:` paragraphs without their frame.
#[must_use]
pub fn init_failure(what: &str, lines: &[String]) -> Failure {
    let unframed = lines.iter().map(|line| line.trim_start_matches(['│', '╷', '╵']).trim());
    let text: Vec<_> =
        unframed.skip_while(|line| !line.starts_with("Error:")).filter(|line| !line.is_empty()).collect();
    let text = if text.is_empty() { lines.iter().map(String::as_str).collect() } else { text };
    let detail: Vec<_> = text.iter().map(|line| format!("  | {line}")).collect();
    Failure::program(format!("terraform init failed while {what}")).detail(detail.join("\n"))
}

fn locked(what: &str, lock: &str, held: &Diagnostic) -> Failure {
    let field = |name: &str| {
        let line = held.detail.lines().map(str::trim).find_map(|line| line.strip_prefix(name));
        line.map(str::trim).filter(|value| !value.is_empty())
    };
    match (field("Who:"), field("Created:")) {
        (Some(who), Some(created)) => {
            let created = created.split('.').next().unwrap_or(created).trim_end_matches(" +0000 UTC");
            Failure::refused(format!("the Terraform state is locked by {who} since {created} UTC"))
                .already(format!("nothing was changed while {what}"))
                .hint(format!("wait until that run has ended; if it is dead: aws s3 rm {lock}"))
        }
        _ => Failure::refused("the Terraform state can't be locked").detail(text(held)),
    }
}

/// Code and message of AWS's answer, as the provider quotes it: `api error CODE: MESSAGE`.
fn aws_error(diagnostic: &Diagnostic) -> Option<(String, String)> {
    let quoted = Regex::new(r"api error (\w[\w.]*): (.*)").ok()?;
    let whole = format!("{}\n{}", diagnostic.summary, diagnostic.detail);
    let found = quoted.captures(&whole)?;
    Some((found[1].to_owned(), found[2].trim_end_matches('.').to_owned()))
}

fn text(diagnostic: &Diagnostic) -> String {
    let place = diagnostic.address.as_ref().map(|address| format!("{address}: ")).unwrap_or_default();
    if let Some((code, message)) = aws_error(diagnostic) {
        // The provider's words before its chain of call sites: `creating EC2 Launch Template (shop-…)`.
        let doing = diagnostic.summary.split(": operation error").next().unwrap_or_default();
        return format!("  {place}{doing}: {message} ({code})");
    }
    let mut lines = vec![format!("  {place}{}", diagnostic.summary.trim())];
    let detail = diagnostic.detail.lines().map(str::trim_end).filter(|line| !line.is_empty());
    lines.extend(detail.map(|line| format!("    {line}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{failure, init_failure};
    use crate::terraform::stream::Diagnostic;

    fn error(summary: &str, detail: &str, address: Option<&str>) -> Diagnostic {
        Diagnostic {
            severity: "error".to_owned(),
            summary: summary.to_owned(),
            detail: detail.to_owned(),
            address: address.map(str::to_owned),
        }
    }

    #[test]
    fn a_held_lock_names_its_holder() {
        let detail = "Error message: operation error S3: PutObject, https response error StatusCode: 412, RequestID: x, \
             api error PreconditionFailed: At least one of\nLock Info:\n  ID:        1111\n  Who:       root@ci-7\n  \
             Version:   1.11.4\n  Created:   2026-11-23 13:00:00.42 +0000 UTC\n  Info:      \n";
        let lock = "s3://tama-releases/shop/envs/production/terraform/blue.tfstate.tflock";
        let failure = failure("planning blue", lock, &[error("Error acquiring the state lock", detail, None)]);
        assert_eq!(failure.exit().code(), 3);
        insta::assert_snapshot!(failure.report(), @"
        error: the Terraform state is locked by root@ci-7 since 2026-11-23 13:00:00 UTC
          already: nothing was changed while planning blue
        hint: wait until that run has ended; if it is dead: aws s3 rm s3://tama-releases/shop/envs/production/terraform/blue.tfstate.tflock
        ");
    }

    #[test]
    fn what_aws_said_is_shown_without_the_providers_chain() {
        let summary = "creating EC2 Launch Template (shop-1.4.0-): operation error EC2: CreateLaunchTemplate, https \
             response error StatusCode: 400, RequestID: 1, api error InvalidLaunchTemplateName.AlreadyExistsException: \
             Launch template name already in use.";
        let failure = failure("applying blue", "", &[error(summary, "", Some("aws_launch_template.release"))]);
        assert_eq!(failure.exit().code(), 4);
        insta::assert_snapshot!(failure.report(), @"
        error: AWS refused what Terraform asked while applying blue
          aws_launch_template.release: creating EC2 Launch Template (shop-1.4.0-): Launch template name already in use (InvalidLaunchTemplateName.AlreadyExistsException)
        ");
    }

    #[test]
    fn terraforms_own_errors_are_shown_whole() {
        let diagnostic =
            error("Invalid value for variable", "At least one subnet is needed.\n\nThis was checked by …", None);
        let failure = failure("planning blue", "", &[diagnostic]);
        assert_eq!(failure.exit().code(), 5);
        insta::assert_snapshot!(failure.report(), @"
        error: terraform failed while planning blue
          Invalid value for variable
            At least one subnet is needed.
            This was checked by …
        ");
    }

    #[test]
    fn inits_frame_is_taken_off() {
        let lines = [
            "Initializing the backend...",
            "╷",
            "│ Error: Failed to query available provider packages",
            "│ ",
            "│ Could not retrieve the list",
            "╵",
        ];
        insta::assert_snapshot!(init_failure("preparing blue", &lines.map(str::to_owned)).report(), @"
        error: terraform init failed while preparing blue
          | Error: Failed to query available provider packages
          | Could not retrieve the list
        ");
    }
}
