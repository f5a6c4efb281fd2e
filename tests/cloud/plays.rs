//! Plays that come to nothing in ways of their own.

use gyron_tests::cloud::Cloud;

use crate::bake::{machines, packaged};

#[test]
fn a_play_for_nobody_makes_no_image_and_a_failure_of_any_size_is_shown() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "plays");
    let error = |playbook: &str| {
        app.write("ansible/site.yml", playbook);
        let shown = app.show(&cloud.run(&app, "gyron-bake", &[]));
        let code = shown.lines().next().unwrap_or_default().to_owned();
        let rest = shown.lines().skip_while(|line| !line.starts_with("error:"));
        [code].into_iter().chain(rest.map(str::to_owned)).collect::<Vec<_>>().join("\n")
    };
    // Ansible calls that success.
    insta::assert_snapshot!(error("- hosts: web\n  tasks: [{ansible.builtin.debug: {msg: a}}]\n"), @"
    exit 2
    error: site.yml has played nothing: none of its plays is for the builder
      already: no instance and no image of this bake are left
    hint: the builder is `localhost`, in no group: say `hosts: all`
    hint: the whole log is in .gyron/logs/ansible.log
    ");
    // SSM keeps 24,000 bytes of what a builder says: a result that is looped over, and what is not ASCII, is far more.
    let large = "- hosts: all
  gather_facts: false
  tasks:
    - name: Fail on much
      ansible.builtin.command: \"sh -c 'yes ┌──┐ | head -c 100000; exit 3' {{ item.name }}\"
      loop: [{name: a, rest: \"{{ 'x' * 30000 }}\"}]
";
    let shown = error(large);
    let head: Vec<&str> = shown.lines().take(4).collect();
    insta::assert_snapshot!(head.join("\n"), @"
    exit 5
    error: the play failed at the task `Fail on much`
      --> site.yml:4
      | One or more items failed
    ");
    assert!(shown.contains("the whole log is in .gyron/logs/ansible.log"), "{shown}");
    assert_eq!(machines(&cloud, "plays"), Vec::<String>::new());
}
