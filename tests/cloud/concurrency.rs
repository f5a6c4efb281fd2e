//! Bakes of one fingerprint at the same time, from machines, homes and checkouts that share nothing but the cloud.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gyron_tests::App;
use gyron_tests::cloud::Cloud;
use tempfile::TempDir;

use crate::bake::{machines, until_a_builder_stands};

/// A machine with a home and a checkout of its own, and the bake that runs there.
struct Machine {
    folder: TempDir,
    bake: Child,
}

impl Machine {
    /// Clones the app's repo, packages it as any CI job would, and begins to bake.
    fn begin(cloud: &Cloud, app: &App, number: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("gyron-machine-").tempdir().unwrap();
        let clone =
            Command::new("git").args(["clone", "--quiet"]).arg(app.path()).arg(folder.path().join("app")).status();
        assert!(clone.unwrap().success());
        fs::create_dir(folder.path().join("home")).unwrap();
        let home = format!("HOME={}", folder.path().join("home").display());
        let script = format!("hostname machine-{number}; gyron-package >/dev/null && exec env {home} gyron-bake");
        let mut command = cloud.rehearse(&["exec", "--", "unshare", "--uts", "sh", "-c", &script]);
        command.current_dir(folder.path().join("app")).env("CI", "true").stdin(Stdio::null());
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let bake = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Machine { folder, bake }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("err")).unwrap()
    }

    /// Waits for its end, which must be a success, and gives the image.
    fn image(&mut self) -> String {
        let status = self.bake.wait().unwrap();
        assert!(status.success(), "{status}:\n{}", self.said());
        fs::read_to_string(self.folder.path().join("out")).unwrap().trim().to_owned()
    }

    fn waits(&self) -> bool {
        self.said().contains("waiting for another bake of the same")
    }
}

fn app(cloud: &Cloud, name: &str) -> App {
    let app = App::small_named(name);
    // Long enough for all of them to meet.
    app.replace(
        "ansible/site.yml",
        "  tasks:\n",
        "  tasks:\n    - name: Take a while\n      ansible.builtin.command: sleep 15\n",
    );
    app.commit();
    cloud.prepare(&app);
    app
}

/// The image of all machines, which must be one, made by one builder.
fn one_image(cloud: &Cloud, name: &str, machines_at_work: &mut [Machine]) -> String {
    let images: Vec<String> = machines_at_work.iter_mut().map(Machine::image).collect();
    assert!(images.iter().all(|image| image.starts_with("ami-") && *image == images[0]), "{images:?}");
    let standing = machines(cloud, name);
    assert_eq!(standing.iter().filter(|id| id.starts_with("ami-")).count(), 1, "{standing:?}");
    assert_eq!(standing.len(), 2, "an image and its snapshot: {standing:?}");
    images[0].clone()
}

#[test]
fn two_and_then_five_make_one_image() {
    let cloud = Cloud::of_tests();
    for (name, count) in [("two", 2), ("five", 5)] {
        let app = app(&cloud, name);
        let mut at_work: Vec<Machine> = (0..count).map(|number| Machine::begin(&cloud, &app, number)).collect();
        one_image(&cloud, name, &mut at_work);
        let waited = at_work.iter().filter(|machine| machine.waits()).count();
        assert_eq!(waited, count - 1, "all but one wait for that one");
        // Who waits sees what the other's play does.
        let shown = at_work.iter().filter(|machine| machine.said().contains("| TASK [Bring the pages]")).count();
        assert_eq!(shown, count);
    }
}

#[test]
fn the_first_one_killed_in_the_middle_is_taken_over_and_makes_no_second_image() {
    let cloud = Cloud::of_tests();
    let app = app(&cloud, "takenover");
    let mut at_work: Vec<Machine> = (0..3).map(|number| Machine::begin(&cloud, &app, number)).collect();
    until_a_builder_stands(&cloud, "takenover");
    let begun = Instant::now();
    while at_work.iter().filter(|machine| machine.waits()).count() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody waits");
        std::thread::sleep(Duration::from_millis(500));
    }
    let first = at_work.iter().position(|machine| !machine.waits()).unwrap();
    let mut first = at_work.remove(first);
    first.bake.kill().unwrap();
    first.bake.wait().unwrap();
    one_image(&cloud, "takenover", &mut at_work);
    let taken_over =
        at_work.iter().filter(|machine| machine.said().contains("is left of a bake that was killed")).count();
    assert_eq!(taken_over, 1, "one of the others takes over");
}
