//! A bake is killed at its calls, and run again.

use gyron_tests::App;
use gyron_tests::cloud::OwnCloud;
use gyron_tests::kills::{Outcome, Reference, Subject, everything, table};

/// The thinnest body that is still a real one.
fn thin(name: &str) -> App {
    let app = App::small_named(name);
    app.write(
        "ansible/site.yml",
        "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {msg: thin}}]\n",
    );
    app.commit();
    app
}

#[test]
fn a_bake_killed_at_any_call_is_made_good_by_the_next_one() {
    let own = OwnCloud::up("kills");
    let cloud = &own.cloud;
    let before = everything(cloud);
    let reference = Reference::bake(cloud, Subject { make: thin, layers: 1 }, "kill");
    let points = reference.points(false);
    assert!(points.len() > 30, "{points:?}");
    let outcomes = reference.kill_at(cloud, &points, 4, |_, _| ());
    let bad = |outcome: &&Outcome| !outcome.killed || !outcome.is_good();
    let bad: Vec<Outcome> = outcomes.iter().filter(bad).cloned().collect();
    let said: String = bad.iter().map(|outcome| format!("--- {}\n{}", outcome.point, outcome.said)).collect();
    assert!(bad.is_empty(), "{}\n{said}", table(&bad));
    assert_eq!(reference.strays(cloud, &before, points.len()), Vec::<String>::new());
}
