//! Kills a bake of the shop right before and right after every call that it makes to AWS, and runs it again: a table, and exit 1
//! where anything is left. Arguments: the first and the last point to take (all unless told), for a run in parts.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a program for people, as tests are"
)]

use std::process::ExitCode;

use gyron_tests::App;
use gyron_tests::cloud::OwnCloud;
use gyron_tests::kills::{Reference, Subject, everything, table};

/// How many bakes run side by side: each boots a machine, installs packages and makes an image.
const AT_ONCE: usize = 3;

fn shop(name: &str) -> App {
    let app = App::example("shop");
    app.replace("gyron.toml", "\"shop\"", &format!("\"{name}\""));
    app.replace("gyron.toml", "shop-releases", &format!("{name}-releases"));
    app.commit();
    app
}

fn main() -> ExitCode {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let (first, last) = (numbers.first().copied().unwrap_or(1), numbers.get(1).copied().unwrap_or(usize::MAX));
    let own = OwnCloud::up("chaos");
    let cloud = &own.cloud;
    let before = everything(cloud);
    eprintln!("a bake that nobody kills");
    let reference = Reference::bake(cloud, Subject { make: shop, layers: 2 }, "chaos");
    let all = reference.points(true);
    let points: Vec<_> = all.iter().take(last).skip(first.saturating_sub(1)).cloned().collect();
    eprintln!("{} calls, {} points to kill at; {} of them now", reference.calls.len(), all.len(), points.len());
    let outcomes = reference.kill_at(cloud, &points, AT_ONCE, |index, outcome| {
        let how = if outcome.is_good() { "good".to_owned() } else { format!("BAD\n{}", outcome.said) };
        eprintln!("{:>4} of {}  {}: {} {how}", index + first, all.len(), outcome.point, outcome.rerun);
    });
    let strays = reference.strays(cloud, &before, points.len());
    print!("{}", table(&outcomes));
    for stray in &strays {
        println!("on the cloud, with no app's tag: {stray}");
    }
    let bad = outcomes.iter().filter(|outcome| !outcome.is_good()).count();
    // A bake that waits a moment less makes fewer calls than the one that nobody killed.
    let killed = outcomes.iter().filter(|outcome| outcome.killed).count();
    println!("{killed} of {} killed, {bad} not made good, {} strays", outcomes.len(), strays.len());
    if bad == 0 && strays.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
