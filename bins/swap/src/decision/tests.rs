#![allow(clippy::unwrap_used)]

use gyron_core::current::{Current, Stack};
use gyron_core::edge::Weights;
use gyron_core::group::Health;
use gyron_core::ids::Colour::{self, Blue, Green};
use proptest::prelude::*;

use super::{Decision, Launched, Refusal, back, forward};
use crate::observed::Observed;

fn stack(colour: Colour, version: &str) -> Stack {
    Stack { colour, version: version.to_owned(), group: format!("shop-{version}-{colour}"), record: None }
}

fn current(live: &Stack, previous: Option<&Stack>) -> Current {
    Current { live: live.clone(), previous: previous.cloned(), at: String::new(), run: String::new() }
}

fn seen(weights: Weights, current: Option<Current>, other: Option<Stack>) -> Observed {
    Observed { weights, current, health: Health::Healthy(2), other }
}

fn launched(stack: &Stack, live: Option<Colour>) -> Launched {
    Launched { stack: stack.clone(), live }
}

#[test]
fn the_first_swap_of_all_moves_from_nothing_and_would_return_to_nothing() {
    let one = stack(Blue, "1");
    let decided = forward(&launched(&one, None), &seen(Weights::default(), None, None)).unwrap();
    let Decision::Move(going) = decided else { panic!("{decided:?}") };
    assert_eq!((going.to, going.from, going.restore), (one, None, Weights::default()));
}

#[test]
fn a_swap_moves_from_what_is_live() {
    let (one, two) = (stack(Blue, "1"), stack(Green, "2"));
    let world = seen(Weights::all(Blue), Some(current(&one, None)), Some(one.clone()));
    let Decision::Move(going) = forward(&launched(&two, Some(Blue)), &world).unwrap() else { panic!() };
    assert_eq!((going.from, going.restore), (Some(one), Weights::all(Blue)));
}

#[test]
fn done_and_written_down_is_nothing_to_do() {
    let (one, two) = (stack(Blue, "1"), stack(Green, "2"));
    let world = seen(Weights::all(Green), Some(current(&two, Some(&one))), Some(one));
    assert_eq!(forward(&launched(&two, Some(Blue)), &world), Ok(Decision::Nothing));
}

#[test]
fn a_swap_killed_before_it_wrote_down_that_it_had_arrived_is_finished() {
    let (one, two) = (stack(Blue, "1"), stack(Green, "2"));
    for written in [None, Some(current(&one, None))] {
        let world = seen(Weights::all(Green), written, Some(one.clone()));
        let Decision::Finish(going) = forward(&launched(&two, Some(Blue)), &world).unwrap() else { panic!() };
        assert_eq!((going.from, going.restore), (Some(one.clone()), Weights::all(Blue)));
    }
}

#[test]
fn stale_records_are_refused() {
    let (one, two, three) = (stack(Blue, "1"), stack(Green, "2"), stack(Green, "3"));
    let moved = seen(Weights::all(Green), Some(current(&three, Some(&one))), Some(one.clone()));
    assert_eq!(forward(&launched(&two, Some(Blue)), &moved), Err(Box::new(Refusal::OtherRelease(three.clone()))));
    let first = seen(Weights::all(Green), Some(current(&three, None)), Some(three));
    let refused = forward(&launched(&one, None), &first);
    assert_eq!(refused, Err(Box::new(Refusal::LiveMoved(None, Weights::all(Green)))));
}

#[test]
fn an_unhealthy_group_gets_no_traffic() {
    let (one, two) = (stack(Blue, "1"), stack(Green, "2"));
    let mut world = seen(Weights::all(Blue), Some(current(&one, None)), Some(one));
    world.health = Health::NotYet("1 of 2 healthy".to_owned());
    let refused = forward(&launched(&two, Some(Blue)), &world).unwrap_err();
    assert!(matches!(*refused, Refusal::Unhealthy(..)));
}

#[test]
fn the_way_back_needs_a_world_that_is_as_written_down() {
    let (one, two) = (stack(Blue, "1"), stack(Green, "2"));
    let written = Some(current(&two, Some(&one)));
    let Decision::Move(going) = back(&seen(Weights::all(Green), written.clone(), None)).unwrap() else { panic!() };
    assert_eq!((going.to, going.from), (one.clone(), Some(two.clone())));
    let half = Weights { blue: 50, green: 50 };
    assert!(matches!(*back(&seen(half, written.clone(), None)).unwrap_err(), Refusal::NotCurrent(..)));
    assert_eq!(back(&seen(Weights::default(), None, None)), Err(Box::new(Refusal::NoPrevious(None))));
    let first = current(&one, None);
    assert_eq!(
        back(&seen(Weights::all(Blue), Some(first.clone()), None)),
        Err(Box::new(Refusal::NoPrevious(Some(first))))
    );
    let mut gone = seen(Weights::all(Green), written.clone(), None);
    gone.health = Health::NotYet("0 of 1 healthy, 0 started".to_owned());
    assert!(matches!(*back(&gone).unwrap_err(), Refusal::Unhealthy(..)));
    assert!(matches!(back(&seen(Weights::all(Blue), written, None)), Ok(Decision::Finish(_))));
}

fn colour() -> impl Strategy<Value = Colour> {
    prop_oneof![Just(Blue), Just(Green)]
}

fn any_stack() -> impl Strategy<Value = Stack> {
    (colour(), 1..4u8).prop_map(|(colour, version)| stack(colour, &version.to_string()))
}

fn any_health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Healthy(2)), Just(Health::NotYet(String::new())), Just(Health::NotInUse)]
}

prop_compose! {
    fn any_world()(
        blue in prop_oneof![Just(0), Just(100), 0..=999i32],
        green in prop_oneof![Just(0), Just(100), 0..=999i32],
        written in proptest::option::of((any_stack(), proptest::option::of(any_stack()))),
        health in any_health(),
        other in proptest::option::of(any_stack()),
    ) -> Observed {
        let current = written.map(|(live, previous)| current(&live, previous.as_ref()));
        Observed { weights: Weights { blue, green }, current, health, other }
    }
}

proptest! {
    #[test]
    fn traffic_only_ever_goes_to_a_healthy_group(
        to in any_stack(), live in proptest::option::of(colour()), world in any_world(),
    ) {
        for decided in [forward(&launched(&to, live), &world), back(&world)] {
            if let Ok(Decision::Move(_) | Decision::Finish(_)) = decided {
                prop_assert_eq!(&world.health, &Health::Healthy(2));
            }
        }
    }

    #[test]
    fn a_failed_swap_returns_to_what_was_live_at_the_launch(
        to in any_stack(), live in proptest::option::of(colour()), world in any_world(),
    ) {
        if let Ok(Decision::Move(going) | Decision::Finish(going)) = forward(&launched(&to, live), &world) {
            prop_assert_eq!(going.restore, live.map_or(Weights::default(), Weights::all));
            prop_assert!(going.from.is_none_or(|from| Some(from.colour) == live));
        }
    }

    #[test]
    fn a_swap_run_again_after_its_end_does_nothing(
        to in any_stack(), live in proptest::option::of(colour()), mut world in any_world(),
    ) {
        if let Ok(Decision::Move(going)) = forward(&launched(&to, live), &world) {
            world.weights = Weights::all(to.colour);
            let finished = forward(&launched(&to, live), &world);
            // Where current.json knew that colour as live already, somebody moved the weights by hand in between.
            if world.current.as_ref().is_none_or(|current| current.live.colour != to.colour) {
                prop_assert!(matches!(finished, Ok(Decision::Finish(_))), "{finished:?}");
            }
            world.current = Some(current(&going.to, going.from.as_ref()));
            prop_assert_eq!(forward(&launched(&to, live), &world), Ok(Decision::Nothing));
        }
    }
}
