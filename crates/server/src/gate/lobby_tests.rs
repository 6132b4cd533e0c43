//! Who gets a place, who waits and who goes, with time as an argument.

use std::{
    net::Ipv4Addr,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures_util::FutureExt as _;

use super::*;

const PLACES: Places = Places {
    strangers: 6,
    strangers_of_one: 4,
    connections: 10,
    connections_of_one: 5,
    turns_of_one: 1,
    patience: Duration::from_secs(3),
};

fn lobby() -> Arc<Lobby> {
    Lobby::new(FrontEnd::Mqtt, PLACES)
}

fn source(last: u8) -> Source {
    Source::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
}

fn enter(lobby: &Arc<Lobby>, last: u8, at: Instant) -> Option<Visit> {
    lobby.enter_at(source(last), at)
}

fn must_go(visit: &mut Visit) -> bool {
    visit.displaced().now_or_never().is_some()
}

fn is_empty(lobby: &Lobby) -> bool {
    let state = lobby.lock();
    state.sources.is_empty() && state.strangers == 0 && state.connections == 0
}

#[test]
fn an_address_has_so_many_strangers_until_the_oldest_has_had_its_time() {
    let (lobby, began) = (lobby(), Instant::now());
    let mut first: Vec<_> = (0..4)
        .map(|_| enter(&lobby, 1, began).expect("there is room"))
        .collect();
    let soon = began + Duration::from_secs(2);
    assert!(enter(&lobby, 1, soon).is_none());
    assert!(enter(&lobby, 2, soon).is_some(), "another address");
    let later = began + Duration::from_secs(3);
    let fifth = enter(&lobby, 1, later).expect("the oldest makes room");
    let gone: Vec<_> = first.iter_mut().map(must_go).collect();
    assert_eq!(gone, [true, false, false, false]);
    drop((first, fifth));
    assert!(is_empty(&lobby));
}

#[test]
fn who_has_said_who_it_is_does_not_make_room() {
    let (lobby, began) = (lobby(), Instant::now());
    let mut all: Vec<_> = (0..4)
        .map(|_| enter(&lobby, 1, began).expect("there is room"))
        .collect();
    all[0].heard();
    let later = began + Duration::from_secs(3);
    let _fifth = enter(&lobby, 1, later).expect("the oldest silent one makes room");
    assert!(!must_go(&mut all[0]) && must_go(&mut all[1]));
}

#[test]
fn when_all_is_full_the_fullest_address_makes_room() {
    let (lobby, began) = (lobby(), Instant::now());
    let mut many: Vec<_> = (0..4)
        .map(|_| enter(&lobby, 1, began).expect("there is room"))
        .collect();
    let mut few: Vec<_> = (2..4)
        .map(|last| enter(&lobby, last, began).expect("there is room"))
        .collect();
    let patience_ends = began + PLACES.patience;
    let vacancy = lobby.make_room(began);
    assert!(matches!(vacancy, Vacancy::Later(at) if at == patience_ends));
    assert!(matches!(lobby.make_room(patience_ends), Vacancy::Now));
    assert_eq!(
        many.iter_mut()
            .filter_map(|one| one.displaced().now_or_never())
            .count(),
        1
    );
    assert!(!few.iter_mut().any(must_go));
    drop((many, few));
    assert!(is_empty(&lobby));
}

#[test]
fn those_let_in_count_as_connections_of_their_address() {
    let (lobby, began) = (lobby(), Instant::now());
    let mut all: Vec<_> = (0..5)
        .map(|_| {
            let mut visit = enter(&lobby, 1, began).expect("there is room");
            visit.settle();
            visit
        })
        .collect();
    assert!(enter(&lobby, 1, began + PLACES.patience * 9).is_none());
    all.pop();
    let sixth = enter(&lobby, 1, began);
    assert!(sixth.is_some());
    drop((all, sixth));
    assert!(is_empty(&lobby));
}

#[test]
fn all_places_taken_means_waiting_for_one_to_leave() {
    let (lobby, began) = (lobby(), Instant::now());
    let mut all: Vec<_> = (0..10)
        .map(|last| {
            let mut visit = enter(&lobby, last, began).expect("there is room");
            visit.settle();
            visit
        })
        .collect();
    let mut vacancy = Box::pin(lobby.vacancy());
    assert!(vacancy.as_mut().now_or_never().is_none());
    all.pop();
    assert!(vacancy.as_mut().now_or_never().is_some());
}

#[test]
fn turns_go_to_the_newest_that_still_waits() {
    let (lobby, began) = (lobby(), Instant::now());
    let mut visits: Vec<_> = (0..4)
        .map(|_| enter(&lobby, 1, began).expect("there is room"))
        .collect();
    let mut turns: Vec<_> = visits
        .iter_mut()
        .map(|visit| Box::pin(visit.turn()) as Pin<Box<dyn Future<Output = Turn>>>)
        .collect();
    let now = |turn: &mut Pin<Box<dyn Future<Output = Turn>>>| {
        let mut cx = Context::from_waker(Waker::noop());
        turn.as_mut().poll(&mut cx)
    };
    let mut polled: Vec<_> = turns.iter_mut().map(now).collect();
    assert!(polled[1..].iter().all(Poll::is_pending));
    // The newest gives up while it waits; the turn passes it by.
    turns.pop();
    polled.truncate(1);
    assert!(polled.pop().is_some_and(|first| first.is_ready()));
    let second: Vec<_> = turns[1..]
        .iter_mut()
        .map(now)
        .map(|turn| turn.is_ready())
        .collect();
    assert_eq!(second, [false, true]);
    drop(turns);
    drop(visits);
    assert!(is_empty(&lobby));
}

#[test]
fn a_turn_lost_on_its_way_is_the_next_ones() {
    let (lobby, began) = (lobby(), Instant::now());
    let mut visits: Vec<_> = (0..3)
        .map(|_| enter(&lobby, 1, began).expect("there is room"))
        .collect();
    let [first, second, third] = visits.as_mut_slice() else {
        unreachable!("three came")
    };
    let turn = first.turn().now_or_never().expect("nobody has one");
    let (mut second, mut third) = (Box::pin(second.turn()), Box::pin(third.turn()));
    assert!(second.as_mut().now_or_never().is_none());
    assert!(third.as_mut().now_or_never().is_none());
    drop(turn);
    // The third has it now and never looks.
    drop(third);
    assert!(second.as_mut().now_or_never().is_some());
    drop(second);
    drop(visits);
    assert!(is_empty(&lobby));
}
