//! The service as callers and agents see it: by hand with made-up times, and with the real agent over HTTP.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::metadata;
use crate::metadata::tests::{cloud, instance};
use crate::world::InstanceState;

const ID: &str = "i-0123456789abcdef0";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_000_000 + second).unwrap()
}

fn world_of(ids: &[&str]) -> World {
    let instances = ids.iter().map(|id| Instance { id: (*id).to_owned(), ..instance() });
    World { instances: instances.collect(), ..World::default() }
}

struct Stage {
    service: Arc<Service>,
    world: watch::Sender<Arc<World>>,
}

/// A service with these instances, whose agents were heard at second 0.
fn stage(ids: &[&str]) -> Stage {
    let (sender, receiver) = watch::channel(Arc::new(world_of(ids)));
    let service = Service::new(&cloud(), receiver);
    for id in ids {
        service.state.lock().unwrap().fleet.greeted(id, Hello::default(), at(0));
    }
    Stage { service, world: sender }
}

impl Stage {
    fn call(&self, action: &str, body: Value, second: i64) -> Value {
        self.service.call_at(action, &body, at(second)).unwrap_or_else(|error| panic!("{action}: {error:?}"))
    }

    fn send(&self, ids: &[&str], more: Value) -> String {
        let mut body = json!({
            "DocumentName": "AWS-RunShellScript",
            "InstanceIds": ids,
            "TimeoutSeconds": 60,
            "Parameters": { "commands": ["id"], "executionTimeout": ["100"] },
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.call("SendCommand", body, 1);
        answer["Command"]["CommandId"].as_str().unwrap().to_owned()
    }

    fn invocation(&self, id: &str, instance: &str, second: i64) -> (String, String, i64) {
        let detail = self.call("GetCommandInvocation", json!({ "CommandId": id, "InstanceId": instance }), second);
        let text = |member: &str| detail[member].as_str().unwrap().to_owned();
        (text("Status"), text("StatusDetails"), detail["ResponseCode"].as_i64().unwrap())
    }

    fn command(&self, id: &str, second: i64) -> Value {
        self.call("ListCommands", json!({ "CommandId": id }), second)["Commands"][0].clone()
    }

    fn ledger<T>(&self, act: impl FnOnce(&mut Ledger) -> T) -> T {
        act(&mut self.service.state.lock().unwrap().ledger)
    }
}

fn report(id: &str, status: ledger::Ending, code: i32) -> Report {
    use base64::Engine as _;
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    Report { id: id.into(), status, code, stdout: base64("out\n"), stderr: base64("err\n") }
}

fn triple(status: &str, details: &str, code: i64) -> (String, String, i64) {
    (status.into(), details.into(), code)
}

#[test]
fn from_pending_to_success() {
    let stage = stage(&[ID]);
    let id = stage.send(&[ID], json!({ "Comment": "hello" }));
    assert_eq!(stage.invocation(&id, ID, 2), triple("Pending", "Pending", -1));
    let task = stage.ledger(|ledger| ledger.tasks(ID));
    assert_eq!(task.len(), 1);
    assert!(stage.ledger(|ledger| ledger.take(&id, ID, at(3))));
    assert!(!stage.ledger(|ledger| ledger.take(&id, ID, at(3))), "once only");
    assert!(stage.ledger(|ledger| ledger.tasks(ID)).is_empty());
    assert_eq!(stage.invocation(&id, ID, 4), triple("InProgress", "InProgress", -1));
    stage.ledger(|ledger| ledger.end(ID, &report(&id, ledger::Ending::Success, 0), at(5)));
    assert_eq!(stage.invocation(&id, ID, 6), triple("Success", "Success", 0));
    let detail = stage.call("GetCommandInvocation", json!({ "CommandId": id, "InstanceId": ID }), 6);
    assert_eq!(detail["StandardOutputContent"], "out\n");
    assert_eq!(detail["ExecutionElapsedTime"], "PT2S");
    assert!(detail["ExecutionStartDateTime"].as_str().unwrap().ends_with(".000Z"), "{detail}");
    let command = stage.command(&id, 6);
    assert_eq!((command["Status"].as_str(), command["CompletedCount"].as_i64()), (Some("Success"), Some(1)));
    assert_eq!(command["ExpiresAfter"].as_f64().unwrap() - command["RequestedDateTime"].as_f64().unwrap(), 160.0);
    let list = stage.call("ListCommandInvocations", json!({ "CommandId": id, "Details": true }), 6);
    assert_eq!(list["CommandInvocations"][0]["CommandPlugins"][0]["Output"], "out\n\n----------ERROR-------\nerr\n");
    assert_eq!(list["CommandInvocations"][0]["InstanceName"], "one");
}

#[test]
fn what_is_not_there() {
    let stage = stage(&[ID]);
    let refused = |action: &str, body: Value| stage.service.call_at(action, &body, at(2)).unwrap_err().code;
    let unknown = "00000000-0000-0000-0000-000000000000";
    let id = stage.send(&[ID], json!({}));
    assert_eq!(
        refused("GetCommandInvocation", json!({ "CommandId": unknown, "InstanceId": ID })),
        "InvocationDoesNotExist"
    );
    assert_eq!(
        refused("GetCommandInvocation", json!({ "CommandId": id, "InstanceId": "i-1" })),
        "InvocationDoesNotExist"
    );
    let plugin = json!({ "CommandId": id, "InstanceId": ID, "PluginName": "x" });
    assert_eq!(refused("GetCommandInvocation", plugin), "InvalidPluginName");
    assert_eq!(refused("GetCommandInvocation", json!({})), "ValidationException");
    assert_eq!(refused("CancelCommand", json!({ "CommandId": unknown })), "InvalidCommandId");
    assert_eq!(refused("CancelCommand", json!({ "CommandId": id, "InstanceIds": ["i-1"] })), "InvalidInstanceId");
    let filter = |key: &str| json!({ "Filters": [{ "key": key, "value": "x" }] });
    assert_eq!(refused("ListCommands", filter("Nonsense")), "InvalidFilterKey");
    assert_eq!(refused("ListCommands", filter("InvokedAfter")), "ValidationException");
    assert_eq!(refused("GetParameter", json!({})), "UnsupportedOperationException");
    assert!(Service::owns("SendCommand") && !Service::owns("GetParameter"));
}

#[test]
fn deadlines_by_the_clock_and_by_the_machine() {
    let stage = stage(&[ID]);
    let waits = stage.send(&[ID], json!({}));
    let runs = stage.send(&[ID], json!({}));
    stage.ledger(|ledger| ledger.take(&runs, ID, at(2)));
    assert_eq!(stage.invocation(&waits, ID, 40), triple("Delayed", "Delayed", -1), "its agent is silent");
    assert_eq!(stage.invocation(&waits, ID, 61), triple("TimedOut", "DeliveryTimedOut", -1));
    assert_eq!(stage.invocation(&runs, ID, 160), triple("InProgress", "InProgress", -1));
    assert_eq!(stage.invocation(&runs, ID, 161), triple("TimedOut", "DeliveryTimedOut", -1));
    stage.ledger(|ledger| ledger.end(ID, &report(&runs, ledger::Ending::Success, 0), at(162)));
    assert_eq!(stage.invocation(&runs, ID, 163).1, "DeliveryTimedOut", "a late report changes nothing");
}

#[test]
fn a_terminated_instance_takes_its_commands_along() {
    let stage = stage(&[ID]);
    let id = stage.send(&[ID], json!({}));
    stage.ledger(|ledger| ledger.take(&id, ID, at(2)));
    let mut world = world_of(&[ID]);
    world.instances[0].state = InstanceState::ShuttingDown;
    stage.world.send_replace(Arc::new(world.clone()));
    assert_eq!(stage.invocation(&id, ID, 3), triple("InProgress", "InProgress", -1));
    world.instances[0].state = InstanceState::Terminated;
    stage.world.send_replace(Arc::new(world));
    assert_eq!(stage.invocation(&id, ID, 4), triple("Failed", "Undeliverable", -1));
    let described = stage.call("DescribeInstanceInformation", json!({}), 4);
    assert_eq!(described["InstanceInformationList"], json!([]));
}

#[test]
fn what_an_agent_lost_has_failed() {
    let stage = stage(&[ID]);
    let (kept, lost) = (stage.send(&[ID], json!({})), stage.send(&[ID], json!({})));
    stage.ledger(|ledger| {
        ledger.take(&kept, ID, at(2));
        ledger.take(&lost, ID, at(2));
        ledger.holds(ID, std::slice::from_ref(&kept), at(3));
    });
    assert_eq!(stage.invocation(&kept, ID, 4), triple("InProgress", "InProgress", -1));
    assert_eq!(stage.invocation(&lost, ID, 4), triple("Failed", "Failed", 1));
}

#[test]
fn cancelling() {
    let stage = stage(&[ID]);
    let (waits, runs) = (stage.send(&[ID], json!({})), stage.send(&[ID], json!({})));
    stage.ledger(|ledger| ledger.take(&runs, ID, at(2)));
    for id in [&waits, &runs] {
        assert_eq!(stage.call("CancelCommand", json!({ "CommandId": id }), 3), json!({}));
    }
    assert_eq!(stage.invocation(&waits, ID, 4), triple("Cancelled", "Cancelled", -1));
    assert_eq!(stage.invocation(&runs, ID, 4), triple("Cancelling", "Cancelling", -1));
    assert_eq!(stage.ledger(|ledger| ledger.cancellations(ID)), std::slice::from_ref(&runs));
    assert!(!stage.ledger(|ledger| ledger.take(&waits, ID, at(5))), "a cancelled command isn't run");
    stage.ledger(|ledger| ledger.end(ID, &report(&runs, ledger::Ending::Cancelled, 137), at(6)));
    assert_eq!(stage.invocation(&runs, ID, 7), triple("Cancelled", "Cancelled", 137));
    stage.call("CancelCommand", json!({ "CommandId": runs }), 8);
    assert_eq!(stage.invocation(&runs, ID, 9), triple("Cancelled", "Cancelled", 137));
}

#[test]
fn concurrency_and_errors() {
    let ids = ["i-a", "i-b", "i-c"];
    let stage = stage(&ids);
    let id = stage.send(&ids, json!({ "MaxConcurrency": "1" }));
    let offered = |stage: &Stage| ids.map(|i| stage.ledger(|ledger| ledger.tasks(i).len()));
    assert_eq!(offered(&stage), [1, 0, 0]);
    stage.ledger(|ledger| ledger.take(&id, "i-a", at(2)));
    stage.ledger(|ledger| ledger.end("i-a", &report(&id, ledger::Ending::Success, 0), at(3)));
    stage.command(&id, 4);
    assert_eq!(offered(&stage), [0, 1, 0]);
    stage.ledger(|ledger| ledger.take(&id, "i-b", at(5)));
    stage.ledger(|ledger| ledger.end("i-b", &report(&id, ledger::Ending::Failed, 3), at(6)));
    let command = stage.command(&id, 7);
    assert_eq!(offered(&stage), [0, 0, 0]);
    assert_eq!(stage.invocation(&id, "i-c", 8).1, "Terminated");
    assert_eq!((command["Status"].as_str(), command["ErrorCount"].as_i64()), (Some("Failed"), Some(1)));
}

#[test]
fn targets_that_match_nothing() {
    let stage = stage(&[ID]);
    let body = json!({
        "DocumentName": "AWS-RunShellScript",
        "Targets": [{ "Key": "tag:none", "Values": ["x"] }],
        "Parameters": { "commands": ["id"] },
    });
    let command = stage.call("SendCommand", body, 1)["Command"].clone();
    assert_eq!(
        (command["Status"].as_str(), command["StatusDetails"].as_str()),
        (Some("Success"), Some("NoInstancesInTag"))
    );
}

#[test]
fn the_ledger_is_bounded() {
    let stage = stage(&[ID]);
    let first = stage.send(&[ID], json!({}));
    stage.call("CancelCommand", json!({ "CommandId": first }), 2);
    let second = stage.send(&[ID], json!({}));
    for _ in 0..999 {
        stage.send(&[ID], json!({}));
    }
    let stands = |id: &str| stage.ledger(|ledger| ledger.command(id).is_some());
    assert!(!stands(&first) && stands(&second), "what has ended goes first");
}

/// The real agent, with the real metadata service between, on loopback.
mod with_the_agent {
    use std::net::{Ipv4Addr, TcpListener};
    use std::process::Stdio;

    use super::*;

    struct Live {
        service: Arc<Service>,
        world: watch::Sender<Arc<World>>,
        state: tempfile::TempDir,
        url: String,
        _agent: tokio::process::Child,
        server: tokio::task::JoinHandle<std::io::Result<()>>,
    }

    impl Drop for Live {
        fn drop(&mut self) {
            self.server.abort();
        }
    }

    fn agent(url: &str, state: &std::path::Path) -> tokio::process::Child {
        tokio::process::Command::new("python3")
            .args(["-c", agent::PROGRAM])
            .env("METADATA_URL", url)
            .env("SSM_AGENT_STATE", state)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    async fn live(profile: bool) -> Live {
        let mut world = world_of(&[ID]);
        world.instances[0].private_ip = Ipv4Addr::LOCALHOST;
        if !profile {
            world.instances[0].instance_profile_arn = None;
        }
        let (sender, receiver) = watch::channel(Arc::new(world));
        let service = Service::new(&cloud(), receiver.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server =
            tokio::spawn(metadata::run(listener, metadata::State::new(cloud(), receiver, Arc::clone(&service))));
        let state = tempfile::tempdir().unwrap();
        let agent = agent(&url, &state.path().join("ssm"));
        Live { service, world: sender, state, url, _agent: agent, server }
    }

    impl Live {
        async fn call(&self, action: &str, body: Value) -> Value {
            self.service.call(action, body).await.unwrap_or_else(|error| panic!("{action}: {error:?}"))
        }

        async fn online(&self) -> bool {
            let answer = self.call("DescribeInstanceInformation", json!({})).await;
            answer["InstanceInformationList"][0]["PingStatus"] == "Online"
        }

        async fn wait_online(&self) {
            for _ in 0..200 {
                if self.online().await {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("the agent didn't come online");
        }

        async fn send(&self, parameters: Value) -> String {
            let body = json!({ "DocumentName": "AWS-RunShellScript", "InstanceIds": [ID], "Parameters": parameters });
            self.call("SendCommand", body).await["Command"]["CommandId"].as_str().unwrap().to_owned()
        }

        async fn ended(&self, id: &str) -> Value {
            for _ in 0..400 {
                let detail = self.call("GetCommandInvocation", json!({ "CommandId": id, "InstanceId": ID })).await;
                if !["Pending", "InProgress", "Cancelling"].contains(&detail["Status"].as_str().unwrap()) {
                    return detail;
                }
                assert_eq!(detail["StandardOutputContent"], "", "nothing is shown before the end");
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            panic!("the command didn't end");
        }

        async fn run(&self, parameters: Value) -> (String, i64, String, String) {
            let detail = self.ended(&self.send(parameters).await).await;
            let text = |member: &str| detail[member].as_str().unwrap().to_owned();
            let code = detail["ResponseCode"].as_i64().unwrap();
            (text("StatusDetails"), code, text("StandardOutputContent"), text("StandardErrorContent"))
        }
    }

    fn outcome(details: &str, code: i64, stdout: &str, stderr: &str) -> (String, i64, String, String) {
        (details.into(), code, stdout.into(), stderr.into())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn scripts_run_and_end_as_they_do_on_aws() {
        let live = live(true).await;
        live.wait_online().await;
        let table = [
            (json!({ "commands": ["echo one", "echo two >&2"] }), outcome("Success", 0, "one\n", "two\n")),
            (
                json!({ "commands": ["x=1", "echo $x", "exit 3"] }),
                outcome("Failed", 3, "1\n", "failed to run commands: exit status 3"),
            ),
            (json!({ "commands": ["false", "echo goes on"] }), outcome("Success", 0, "goes on\n", "")),
            (json!({ "commands": ["#!/bin/bash", "[[ a == a ]] && echo bash"] }), outcome("Success", 0, "bash\n", "")),
            (json!({ "commands": ["pwd"], "workingDirectory": ["/usr/lib"] }), outcome("Success", 0, "/usr/lib\n", "")),
            (json!({ "commands": ["kill -9 $$"] }), outcome("ExecutionTimedOut", 137, "", "Killed\n")),
            (json!({ "commands": ["echo $AWS_SSM_INSTANCE_ID; cat"] }), outcome("Success", 0, &format!("{ID}\n"), "")),
            (json!({ "commands": ["printf 'caf\\303\\251'"] }), outcome("Success", 0, "café", "")),
        ];
        for (parameters, want) in table {
            assert_eq!(live.run(parameters.clone()).await, want, "{parameters}");
        }
        let (details, code, _, stderr) =
            live.run(json!({ "commands": ["pwd"], "workingDirectory": ["/nonexistent"] })).await;
        assert_eq!((details.as_str(), code), ("Failed", 1));
        assert!(stderr.starts_with("failed to run commands: "), "{stderr}");
        let (_, _, stdout, _) = live.run(json!({ "commands": ["seq 100000"] })).await;
        assert!(stdout.len() == 24_000 && stdout.ends_with("--output truncated--"));
        assert!(!live.state.path().join("ssm").exists(), "nothing is left behind");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn time_limits_and_cancelling_kill_the_whole_group() {
        let live = live(true).await;
        live.wait_online().await;
        let mark = live.state.path().join("mark");
        let slow = format!("(sleep 8; touch {}) & echo begun; wait", mark.display());
        let limited = live.send(json!({ "commands": [slow], "executionTimeout": ["5"] })).await;
        let cancelled = live.send(json!({ "commands": ["sleep 60"] })).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        live.call("CancelCommand", json!({ "CommandId": cancelled })).await;
        let detail = live.ended(&cancelled).await;
        assert_eq!((detail["Status"].as_str(), detail["ResponseCode"].as_i64()), (Some("Cancelled"), Some(137)));
        let detail = live.ended(&limited).await;
        assert_eq!(
            (detail["StatusDetails"].as_str(), detail["ResponseCode"].as_i64()),
            (Some("ExecutionTimedOut"), Some(137))
        );
        assert_eq!(detail["StandardOutputContent"], "begun\n");
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(!mark.exists(), "what the script had begun was killed with it");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_agent_without_a_profile_is_offline_until_it_has_one() {
        let live = live(false).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!live.online().await);
        let body =
            json!({ "DocumentName": "AWS-RunShellScript", "InstanceIds": [ID], "Parameters": { "commands": ["id"] } });
        assert_eq!(live.service.call("SendCommand", body).await.unwrap_err().code, "InvalidInstanceId");
        let mut world = World::clone(&live.world.borrow());
        world.instances[0].instance_profile_arn = instance().instance_profile_arn;
        live.world.send_replace(Arc::new(world));
        live.wait_online().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_restarted_agent_has_lost_its_command() {
        let mut live = live(true).await;
        live.wait_online().await;
        let id = live.send(json!({ "commands": ["sleep 3"] })).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        live._agent.kill().await.unwrap();
        live._agent = agent(&live.url, &live.state.path().join("ssm"));
        let detail = live.ended(&id).await;
        assert_eq!((detail["StatusDetails"].as_str(), detail["ResponseCode"].as_i64()), (Some("Failed"), Some(1)));
        assert!(detail["StandardErrorContent"].as_str().unwrap().starts_with("document process failed unexpectedly"));
    }
}
