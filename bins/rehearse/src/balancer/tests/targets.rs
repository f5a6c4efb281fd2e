//! Targets that come, go, get well and fall ill; listeners that open and close.

use super::*;

fn reason(rig: &Rig) -> (State, Option<&'static str>, Option<String>) {
    let health = rig.health().remove(0);
    (health.state, health.reason, health.description)
}

#[tokio::test]
async fn health_follows_real_checks_by_the_groups_settings() {
    let app = App::start("blue").await;
    let rig = Rig::simple(&[app.at]).await;
    rig.until_healthy().await;
    let checks = app.seen.checks.lock().unwrap().clone();
    assert_eq!(checks["user-agent"], "ELB-HealthChecker/2.0");
    assert_eq!(checks["host"], app.at.to_string());
    app.seen.health.store(500, Ordering::Relaxed);
    rig.until_states(&[State::Unhealthy]).await;
    let says = "Health checks failed with these codes: [500]".to_owned();
    assert_eq!(reason(&rig), (State::Unhealthy, Some("Target.ResponseCodeMismatch"), Some(says)));
    // Nobody is healthy: the balancer fails open.
    assert_eq!(rig.get("/").await.body, "blue");
    app.seen.health.store(200, Ordering::Relaxed);
    rig.until_healthy().await;
    app.kill().await;
    rig.until_states(&[State::Unhealthy]).await;
    assert_eq!(
        reason(&rig),
        (State::Unhealthy, Some("Target.FailedHealthChecks"), Some("Health checks failed".to_owned()))
    );
}

#[tokio::test]
async fn a_check_that_gets_no_answer_times_out_and_other_settings_take_its_place() {
    let (listener, at) = bound().await;
    let app = App::start("beside").await;
    let mut rig = Rig::simple(&[at]).await;
    rig.blue().health_check.timeout = Duration::from_millis(30);
    rig.apply().await;
    rig.until_states(&[State::Unhealthy]).await;
    assert_eq!(reason(&rig), (State::Unhealthy, Some("Target.Timeout"), Some("Request timed out".to_owned())));
    drop(listener);
    rig.blue().targets[0].address = Some(*app.at.ip());
    rig.apply().await;
    rig.until_healthy().await;
}

#[tokio::test]
async fn only_the_healthy_get_requests_while_there_are_any() {
    let (well, ill) = (App::start("well").await, App::start("ill").await);
    ill.seen.health.store(503, Ordering::Relaxed);
    let rig = Rig::simple(&[ill.at, well.at]).await;
    rig.until_states(&[State::Unhealthy, State::Healthy]).await;
    for _ in 0..6 {
        assert_eq!(rig.get("/").await.body, "well");
    }
    assert_eq!(ill.requests(), 0);
}

#[tokio::test]
async fn a_target_is_unused_where_no_rule_names_its_group_or_its_instance_does_not_run() {
    let app = App::start("blue").await;
    let mut rig = Rig::simple(&[app.at]).await;
    rig.until_healthy().await;
    let rules = std::mem::take(&mut rig.world.balancers[0].listeners[0].rules);
    rig.apply().await;
    assert_eq!((reason(&rig).0, reason(&rig).1), (State::Unused, Some("Target.NotInUse")));
    rig.world.balancers[0].listeners[0].rules = rules;
    rig.blue().targets[0].state = Some(InstanceState::Stopped);
    rig.apply().await;
    let says = "Target is in the stopped state".to_owned();
    assert_eq!(reason(&rig), (State::Unused, Some("Target.InvalidState"), Some(says)));
    assert_eq!(rig.get("/").await.status, 503);
    rig.blue().targets[0].state = None;
    rig.blue().targets[0].address = None;
    rig.apply().await;
    let says = "Target is in the terminated state".to_owned();
    assert_eq!(reason(&rig), (State::Unused, Some("Target.InvalidState"), Some(says)));
    rig.blue().targets[0].state = Some(InstanceState::Running);
    rig.blue().targets[0].address = Some(*app.at.ip());
    rig.apply().await;
    assert_eq!(reason(&rig).0, State::Initial);
    rig.until_healthy().await;
}

#[tokio::test]
async fn a_deregistered_target_finishes_what_it_has_and_gets_nothing_new() {
    let (leaving, staying) = (App::start("leaving").await, App::start("staying").await);
    let mut rig = Rig::simple(&[leaving.at, staying.at]).await;
    rig.until_healthy().await;
    let at = rig.at;
    let pending: Vec<_> =
        (0..2).map(|_| tokio::spawn(async move { Client::connect(at).await.get("/slow").await.unwrap() })).collect();
    until(|| leaving.requests() == 1, || "no request arrived".to_owned()).await;
    rig.blue().deregistration_delay = Duration::from_secs(1);
    rig.blue().targets.remove(0);
    rig.apply().await;
    let states: Vec<_> = rig.health().into_iter().map(|h| (h.id, h.state, h.reason)).collect();
    assert_eq!(
        states,
        [
            ("i-1".to_owned(), State::Healthy, None),
            ("i-0".to_owned(), State::Draining, Some("Target.DeregistrationInProgress")),
        ]
    );
    for _ in 0..5 {
        assert_eq!(rig.get("/").await.body, "staying");
    }
    for answer in pending {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    assert_eq!(leaving.requests(), 1);
    rig.until_states(&[State::Healthy]).await;
}

#[tokio::test]
async fn what_outlasts_the_deregistration_delay_is_a_502_and_a_target_that_comes_back_does_not_drain() {
    let app = App::start("blue").await;
    let mut rig = Rig::simple(&[app.at]).await;
    rig.until_healthy().await;
    let at = rig.at;
    let pending = tokio::spawn(async move { Client::connect(at).await.get("/slow").await.unwrap() });
    until(|| app.requests() == 1, || "no request arrived".to_owned()).await;
    rig.blue().deregistration_delay = Duration::from_millis(50);
    let targets = std::mem::take(&mut rig.blue().targets);
    rig.apply().await;
    assert_eq!(reason(&rig).0, State::Draining);
    rig.blue().targets = targets;
    rig.apply().await;
    assert_eq!(rig.health().len(), 1);
    rig.until_healthy().await;
    assert_eq!(pending.await.unwrap().status, 502);
    assert_eq!(rig.get("/").await.status, 200);
}

#[tokio::test]
async fn listeners_open_and_close_with_the_world_and_say_why_they_cannot() {
    let app = App::start("blue").await;
    let mut rig = Rig::simple(&[app.at]).await;
    let (taken, elsewhere) = bound().await;
    rig.world.balancers[0].addresses.push(*elsewhere.ip());
    let unopened = rig.plane.apply(&rig.world).await;
    assert_eq!(unopened.len(), 1);
    assert_eq!((unopened[0].address, unopened[0].error.kind()), (elsewhere, std::io::ErrorKind::AddrInUse));
    drop(taken);
    rig.apply().await;
    assert_eq!(Client::connect(elsewhere).await.get("/").await.unwrap().body, "blue");

    let mut kept = Client::connect(rig.at).await;
    assert_eq!(kept.get("/").await.unwrap().body, "blue");
    let pending = tokio::spawn({
        let at = rig.at;
        async move { Client::connect(at).await.get("/slow").await.unwrap() }
    });
    until(|| app.requests() == 3, || "no request arrived".to_owned()).await;
    rig.world.balancers.clear();
    rig.apply().await;
    assert!(TcpStream::connect(rig.at).await.is_err());
    assert_eq!(pending.await.unwrap().body, "blue", "what is in flight ends well");
    until(|| kept.sender.is_closed(), || "an idle connection stays open".to_owned()).await;
}

#[tokio::test]
async fn stop_leaves_nothing_open() {
    let app = App::start("blue").await;
    let rig = Rig::simple(&[app.at]).await;
    rig.until_healthy().await;
    rig.plane.stop().await;
    assert!(TcpStream::connect(rig.at).await.is_err());
    assert!(rig.health().is_empty());
    app.seen.checks.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(app.seen.checks.lock().unwrap().is_empty(), "it is still checked");
}
