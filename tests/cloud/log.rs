//! A play's log while it runs.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use gyron_tests::cloud::Cloud;

use crate::bake::packaged;

/// Tasks that say when they say it, one a second, then one that says more than SSM keeps, then one that takes long.
fn playbook() -> String {
    let mut text = "- hosts: all\n  gather_facts: false\n  tasks:\n".to_owned();
    for tick in 0..8 {
        text += &format!(
            "    - {{name: Wait {tick}, ansible.builtin.command: sleep 0.9}}\n    \
             - {{name: Tick {tick}, ansible.builtin.debug: {{msg: \"tick at {{{{ lookup('pipe', 'date +%s.%N') }}}} s\"}}}}\n"
        );
    }
    text += "    - {name: Say much, ansible.builtin.debug: {msg: \"{{ range(100000, 108000) | list }}\"}}\n";
    text + "    - {name: Take long, ansible.builtin.command: sleep 8}\n"
}

#[test]
fn every_line_is_there_in_order_and_within_two_seconds() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "talkative");
    app.write("ansible/site.yml", &playbook());
    let mut bake = cloud.command(&app, "gyron-bake", &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lags = Vec::new();
    let mut said = Vec::new();
    for line in BufReader::new(bake.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        if let Some((_, printed)) = line.split_once("tick at ") {
            let printed: f64 = printed.split_whitespace().next().unwrap().parse().unwrap();
            lags.push(now - printed);
        }
        said.push(line);
    }
    assert!(bake.wait().unwrap().success(), "{}", said.join("\n"));
    assert_eq!(lags.len(), 8, "{}", said.join("\n"));
    assert!(lags.iter().all(|lag| *lag < 2.0), "{lags:?}");

    // SSM keeps 24,000 characters: the file has all of them, in order.
    let log = app.read(".gyron/logs/ansible.log");
    let numbers: Vec<u32> = log
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').parse().ok())
        .filter(|number| (100_000..108_000).contains(number))
        .collect();
    assert_eq!(numbers, (100_000..108_000).collect::<Vec<u32>>(), "{} bytes", log.len());
    assert!(log.contains("PLAY RECAP") && !log.contains("{\"task\""), "events are no lines of the log");

    // The slowest come last, with their places.
    let slowest: Vec<&String> =
        said.iter().skip_while(|line| !line.contains("played ansible/site.yml")).skip(1).take(1).collect();
    assert!(slowest[0].ends_with("s Take long (site.yml:21)"), "{slowest:?}");
}
