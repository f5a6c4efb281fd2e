//! The pip that makes the toolkit: the machine's own, or where its Python has none, as on CircleCI's base images, a wheel from the
//! index. A wheel of pip runs as it is: <https://pip.pypa.io/en/stable/installation/>.

use std::path::Path;

use gyron_core::failure::Result;
use gyron_core::program::Program;
use gyron_core::step::Context;

const WHEEL: &str = "pip-25.3-py3-none-any.whl";
const SHA256: &str = "9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd";

/// Fetches it.
const FETCH: &str = include_str!("pip.py");

/// How pip is called.
///
/// # Errors
/// Program (5): there is no Python, or no pip and none to be fetched.
pub(super) async fn find(context: &Context, scratch: &Path) -> Result<Program> {
    let hint = "pip makes the Ansible toolkit, once for a bucket: apt-get install python3-pip, or let PyPI be reached";
    let python = || Program::find("python3", hint);
    let asked = python()?.args(["-m", "pip", "--version"]).run(&context.stop, |_, _| {}).await?;
    if asked.status.success() {
        return Ok(python()?.args(["-m", "pip"]));
    }
    context.console.say(format!("  python3 has no pip: fetching {WHEEL}"));
    let wheel = scratch.join(WHEEL);
    let fetched = python()?.args(["-c", FETCH, WHEEL, SHA256]).args([&wheel]);
    fetched.succeed(&context.stop, |_, _| {}).await.map_err(|failure| failure.hint(hint))?;
    Ok(python()?.args([wheel.join("pip")]))
}
