//! What the real `circleci` CLI asks when it processes or validates a config.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use gyron_tests::App;
use serde_json::{Value, json};

/// The server, ended with the test.
struct Served(Child, String);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(app: &App) -> Served {
    let mut child = app.command("gyron-rehearse", &["ci", "serve"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("export CIRCLE_HOST=http://").unwrap().to_owned();
    Served(child, address)
}

/// POSTs as the CLI does, and gives status and body.
fn compile(served: &Served, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let mut stream = TcpStream::connect(&served.1).unwrap();
    write!(
        stream,
        "POST /api/v3/configs/compile HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        served.1,
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn a_config_is_compiled_or_its_faults_are_told_and_unknown_members_refused() {
    let app = App::empty();
    let served = serve(&app);
    let ask =
        |config: &str| json!({"data": {"attributes": {"config": config, "pipeline_values": {"git.branch": "main"}}}});
    let good = "version: 2.1\njobs: {build: {docker: [{image: a}], steps: [{run: echo << pipeline.git.branch >>}]}}\n";
    let (status, answer) = compile(&served, &ask(good));
    assert_eq!((status, &answer["data"]["attributes"]["outcome"]), (200, &json!("succeeded")));
    assert!(
        answer["data"]["attributes"]["compiled_config"].as_str().unwrap().contains("command: echo main"),
        "{answer}"
    );

    let (status, answer) = compile(&served, &ask("version: 2.1\njobs: {build: {docker: [{image: a}], stpes: []}}\n"));
    assert_eq!((status, &answer["data"]["attributes"]["outcome"]), (200, &json!("failed")));
    let said = answer["meta"]["messages"].to_string();
    assert!(said.contains("config.yml:2:") && said.contains("stpes"), "{said}");

    let (status, _) = compile(&served, &json!({"data": {"attributes": {"config": good, "color": 1}}}));
    assert_eq!(status, 400);
}
