//! One rule each.

use super::*;

#[test]
fn calls_leave_in_order_of_ordinals_once_their_dispatch_is_durable() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([9, 1, 70_000, 5]);
    rig.add(1, [70_000, 5, 9, 1, 2]);
    let batch = rig.begin().expect("a dispatch does not wait");
    assert_eq!(batch.len(), 1);
    assert!(rig.left.is_empty());
    let results = rig.memory.journal(&batch, rig.now);
    let left = rig.finish(batch, &results);
    assert_eq!(ordinals(&left), [1, 5, 9, 70_000]);
    assert_eq!(rig.executor.in_flight(), 4);
    assert_eq!(rig.answer_all(left), 4);
    assert_eq!(rig.outcome(1, 5), Some(&answered()));

    rig.ready([2]);
    let left = rig.settle_down();
    assert_eq!(ordinals(&left), [2]);
    rig.answer_all(left);
    assert!(rig.is_ended(1));
    rig.assert_empty();
}

#[test]
fn a_job_that_is_handed_over_twice_is_driven_once() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([1]);
    rig.add(1, [1, 2]);
    let batch = rig.begin().expect("a dispatch does not wait");
    let again = JobResumed {
        job: job(1),
        ledger: Ledger::sealed([1, 2].into_iter().collect()),
    };
    rig.executor.add(again, &RoaringBitmap::new(), rig.now);
    let results = rig.memory.journal(&batch, rig.now);
    let mut left = rig.finish(batch, &results);
    rig.ready([2]);
    left.extend(rig.settle_down());
    assert_eq!(ordinals(&left), [1, 2]);
    rig.answer_all(left);
    assert!(rig.is_ended(1));
    rig.assert_empty();
}

#[test]
fn a_small_job_does_not_wait_for_a_large_one() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready(0..20_000);
    rig.add(1, 0..10_000);
    let first = rig.settle_down();
    assert!(first.len() >= 750, "{} of the window", first.len());
    // Nobody of the large job answers, and still there is room.
    rig.add(2, 10_000..10_003);
    let left = rig.step();
    assert_eq!(jobs(&left), [2, 2, 2]);
    rig.answer_all(left);
    assert!(rig.is_ended(2));
    assert!(!rig.is_ended(1));
}

#[test]
fn jobs_share_the_window_whoever_came_first() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready(0..20_000);
    rig.add(1, 0..10_000);
    let mut waiting = rig.settle_down();
    rig.add(2, 10_000..20_000);
    // Each round half of what is in flight is answered.
    for _ in 0..12 {
        waiting.extend(rig.settle_down());
        let rest = waiting.split_off(waiting.len() / 2);
        waiting.into_iter().for_each(|left| {
            rig.answer(left);
        });
        waiting = rest;
    }
    waiting.extend(rig.settle_down());
    let of_first = waiting.iter().filter(|left| left.job == 1).count();
    let of_second = waiting.len() - of_first;
    assert!(
        of_first.abs_diff(of_second) <= waiting.len() / 5,
        "{of_first} and {of_second}"
    );
}

#[test]
fn one_turn_is_not_the_whole_batch() {
    let mut rig = Rig::new(Bounds {
        dispatches: 3 * TURN_DISPATCHES,
        ..BOUNDS
    });
    rig.add(1, 0..500);
    rig.add(2, 500..1_000);
    rig.add(3, 1_000..1_002);
    rig.ready(0..1_002);
    let left = rig.step();
    let count = |job| left.iter().filter(|left| left.job == job).count();
    assert_eq!(
        (count(1), count(2), count(3)),
        (2 * TURN_DISPATCHES - 2, TURN_DISPATCHES, 2)
    );
}

#[test]
fn what_is_allowed_is_shared_in_turns() {
    let mut rig = Rig::new(BOUNDS);
    for job in 1..=3 {
        rig.add(job, 100..200);
    }
    rig.ready(100..200);
    assert_eq!(rig.executor.wishes(), (300, 3));
    let mut number = 0;
    let mut next = || {
        number += 1;
        CallId { term: TERM, number }
    };
    assert_eq!(rig.executor.choose(0, &mut next), 0);
    assert_eq!(rig.executor.choose(9, &mut next), 9);
    // Fewer than jobs: the next ones go on where these ended.
    assert_eq!(rig.executor.choose(2, &mut next), 2);
    assert_eq!(rig.executor.choose(1, &mut next), 1);
    let batch = rig.executor.take_batch(rig.now).expect("calls do not wait");
    let each: Vec<_> = batch
        .iter()
        .map(|records| records.dispatched.len())
        .collect();
    assert_eq!(each, [4, 4, 4]);
    assert_eq!(rig.executor.wishes(), (288, 3));
}

#[test]
fn the_window_opens_again_for_a_group_not_for_each_answer() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready(0..5_000);
    rig.add(1, 0..5_000);
    let mut waiting = rig.settle_down();
    let held = waiting.len();
    assert!(held < BOUNDS.in_flight);
    let group = BOUNDS.in_flight / 16;
    let mut groups = Vec::new();
    for _ in 0..3 * group {
        let left = waiting.pop().expect("hundreds are in flight");
        assert!(rig.answer(left));
        let left = rig.step();
        if !left.is_empty() {
            groups.push(left.len());
        }
    }
    assert!(!groups.is_empty());
    assert!(groups.iter().all(|left| *left >= group), "{groups:?}");
}

#[test]
fn the_bounds_hold_whatever_is_ready() {
    let mut rig = Rig::new(Bounds {
        in_flight: 10,
        dispatches: 3,
        ..BOUNDS
    });
    rig.ready(0..100);
    for number in 1..=5 {
        rig.add(number, 0..20);
    }
    let mut most = 0;
    for _ in 0..20 {
        assert!(rig.step().len() <= 3);
        assert!(rig.executor.in_flight() <= 10);
        most = most.max(rig.executor.in_flight());
    }
    assert_eq!(most, 10, "the window is used");
}

#[test]
fn a_device_gets_at_most_four_calls_the_oldest_jobs_first() {
    let mut rig = Rig::new(BOUNDS);
    for number in [5, 3, 1, 2, 6, 4] {
        rig.add(number, [7]);
    }
    rig.ready([7]);
    let left = rig.settle_down();
    assert_eq!(jobs(&left), [1, 2, 3, 4]);
    rig.answer(left[2]);
    let fifth = rig.settle_down();
    assert_eq!(jobs(&fifth), [5]);
    rig.executor.canceled(JobNumber(1));
    assert!(rig.settle_down().is_empty(), "its call is still in flight");
    rig.answer(left[0]);
    assert_eq!(jobs(&rig.settle_down()), [6]);
}

#[test]
fn the_place_of_a_cancelled_job_goes_to_whoever_waits_for_the_device() {
    // The window has room for none of the four oldest when they are cancelled.
    let mut rig = Rig::new(Bounds {
        in_flight: 2,
        ..BOUNDS
    });
    rig.ready(100..110);
    rig.add(9, 100..110);
    let full = rig.settle_down();
    for number in 1..=6 {
        rig.add(number, [7]);
    }
    rig.ready([7]);
    for number in [1, 2, 3, 4, 9] {
        rig.memory.cancel(number, rig.now);
        rig.executor.canceled(JobNumber(number));
    }
    for left in full {
        rig.answer(left);
    }
    let left = rig.settle_down();
    assert_eq!(left.first().map(|left| left.job), Some(5), "{left:?}");
    rig.answer_all(left);
    assert!(rig.is_ended(5) && rig.is_ended(6));
    rig.assert_empty();
}

#[test]
fn jobs_that_ended_do_not_use_up_the_turn_of_those_that_wait() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([7]);
    for number in 1..=7 {
        rig.add(number, [7]);
    }
    let left = rig.settle_down();
    assert_eq!(jobs(&left), [1, 2, 3, 4]);
    for number in [5, 6] {
        rig.memory.cancel(number, rig.now);
        rig.executor.canceled(JobNumber(number));
    }
    rig.answer(left[0]);
    assert_eq!(jobs(&rig.settle_down()), [7]);
}

#[test]
fn a_device_that_goes_and_comes_is_called_once() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([1]);
    rig.add(1, [1, 2]);
    rig.unready(1);
    assert!(rig.settle_down().is_empty(), "it went before its turn");
    rig.ready([1]);
    let left = rig.settle_down();
    assert_eq!(ordinals(&left), [1]);
    rig.unready(1);
    rig.ready([1]);
    assert!(rig.settle_down().is_empty(), "its call is in flight");
    assert!(rig.answer(left[0]), "on whichever connection");
}

#[test]
fn a_refused_dispatch_never_leaves() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([1, 2]);
    rig.add(1, [1, 2]);
    let batch = rig.begin().expect("two dispatches");
    // The cancel is durable, and nobody has told the executor yet.
    rig.memory.cancel(1, rig.now);
    let results = rig.memory.journal(&batch, rig.now);
    assert_eq!(results[0].refused, [1, 2]);
    assert!(rig.finish(batch, &results).is_empty());
    rig.executor.canceled(JobNumber(1));
    rig.assert_empty();
}

#[test]
fn one_refused_dispatch_does_not_hold_back_the_others() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([1, 2, 3]);
    rig.add(1, [1, 2, 3]);
    let batch = rig.begin().expect("three dispatches");
    let mut results = rig.memory.journal(&batch, rig.now);
    results[0].refused = vec![2];
    assert_eq!(ordinals(&rig.finish(batch, &results)), [1, 3]);
    assert_eq!(rig.executor.in_flight(), 2);
}

#[test]
fn a_call_that_could_not_leave_is_tried_again_on_the_next_connection() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([1]);
    rig.closed.insert(1);
    rig.add(1, [1]);
    assert!(rig.settle_down().is_empty(), "and it does not try for ever");
    assert_eq!(rig.executor.in_flight(), 0);
    rig.closed.clear();
    assert!(rig.settle_down().is_empty());
    rig.ready([1]);
    let left = rig.settle_down();
    assert_eq!(ordinals(&left), [1]);
    rig.answer_all(left);
    assert!(rig.is_ended(1));
    rig.assert_empty();
}

#[test]
fn a_withdrawn_call_of_a_draining_job_ends_it() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([1]);
    rig.add(1, [1]);
    let batch = rig.begin().expect("a dispatch");
    let results = rig.memory.journal(&batch, rig.now);
    rig.memory.cancel(1, rig.now);
    rig.executor.canceled(JobNumber(1));
    assert!(rig.finish(batch, &results).is_empty(), "it was not sent");
    assert!(!rig.is_ended(1), "the store counts a call in flight");
    rig.settle_down();
    assert!(rig.is_ended(1));
    assert_eq!(rig.memory.jobs[&JobNumber(1)].1.progress().canceled, 1);
    rig.assert_empty();
}

#[test]
fn an_answer_counts_once_and_from_its_device_alone() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([1, 2]);
    rig.add(1, [1, 2]);
    let left = rig.settle_down();
    let unknown = CallId {
        term: TERM,
        number: 999,
    };
    let module = IdentityKey {
        space: Space::Modules,
        ordinal: 1,
    };
    assert!(!rig.answer_from(2, left[0].call), "a stranger");
    assert!(!rig.answer_from(1, unknown), "nobody's call");
    let empty = AnswerPayload::Empty;
    assert!(
        !rig.executor
            .answered(module, left[0].call, 200, empty.clone(), rig.now)
    );
    assert!(
        rig.executor
            .answered(key(1), left[0].call, 404, empty, rig.now)
    );
    assert!(!rig.answer(left[0]), "a second time");
    assert!(
        rig.executor
            .answered(key(2), left[1].call, 200, AnswerPayload::Garbled, rig.now)
    );
    rig.settle_down();
    let bare = Outcome::Answered {
        status: 404,
        payload: None,
    };
    assert_eq!(rig.outcome(1, 1), Some(&bare));
    assert_eq!(rig.outcome(1, 2), Some(&Outcome::Garbled));
    assert!(rig.is_ended(1));
    assert!(!rig.answer(left[0]), "late");
    rig.assert_empty();
}

#[test]
fn time_outs_come_in_order_and_late_answers_do_not_count() {
    let mut rig = Rig::new(BOUNDS);
    rig.add(1, 1..=4);
    let mut left = Vec::new();
    for ordinal in 1..=3 {
        rig.ready([ordinal]);
        left.extend(rig.settle_down());
        rig.now = rig.now + Duration::from_secs(1);
    }
    assert_eq!(rig.executor.wake_at(), second(u64::from(RESPONSE_SECONDS)));
    rig.answer(left[1]);
    rig.now = second(11);
    rig.settle_down();
    assert_eq!(rig.outcome(1, 1), Some(&Outcome::TimedOut));
    assert_eq!(rig.outcome(1, 2), Some(&answered()));
    assert_eq!(rig.outcome(1, 3), None);
    assert!(!rig.answer(left[0]));
    rig.now = second(12);
    rig.settle_down();
    assert_eq!(rig.outcome(1, 3), Some(&Outcome::TimedOut));
    assert!(!rig.is_ended(1), "the fourth was never ready");
    assert_eq!(rig.executor.wake_at(), second(u64::from(WINDOW_SECONDS)));
}

#[test]
fn calls_of_an_older_term_are_answered_or_unknown() {
    let mut rig = Rig::new(BOUNDS);
    let mut ledger = Ledger::sealed((1..=3).collect());
    for (ordinal, started) in [(1, 0), (2, 4)] {
        let flight = InFlight {
            call: old_call(u64::from(ordinal)),
            dispatched: second(started),
        };
        ledger.dispatch(ordinal, flight).unwrap();
    }
    rig.now = second(8);
    rig.add_ledger(1, ledger);
    rig.ready([1, 2, 3]);
    let left = rig.settle_down();
    assert_eq!(ordinals(&left), [3], "nothing is called a second time");
    assert_eq!(rig.executor.wake_at(), second(10));
    rig.now = second(10);
    rig.settle_down();
    assert_eq!(rig.outcome(1, 1), Some(&Outcome::Unknown));
    assert!(rig.answer_from(2, old_call(2)));
    assert!(!rig.answer_from(1, old_call(1)));
    rig.now = second(18);
    rig.settle_down();
    assert_eq!(rig.outcome(1, 2), Some(&answered()));
    assert_eq!(rig.outcome(1, 3), Some(&Outcome::TimedOut));
    assert!(rig.is_ended(1));
    rig.assert_empty();
}

#[test]
fn old_calls_count_for_their_device() {
    let mut rig = Rig::new(BOUNDS);
    for number in 1..=4 {
        let mut ledger = Ledger::sealed([7].into_iter().collect());
        let flight = InFlight {
            call: old_call(number),
            dispatched: T0,
        };
        ledger.dispatch(7, flight).unwrap();
        rig.add_ledger(number, ledger);
    }
    rig.add(5, [7]);
    rig.ready([7]);
    assert!(rig.settle_down().is_empty());
    assert!(rig.answer_from(7, old_call(2)));
    assert_eq!(jobs(&rig.settle_down()), [5]);
}

#[test]
fn a_window_is_over_once_and_nothing_leaves_after_it() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([1]);
    rig.add(1, [1, 2]);
    rig.settle_down();
    rig.now = second(u64::from(WINDOW_SECONDS) - 1);
    rig.settle_down();
    rig.ready([2]);
    let batch = rig.begin().expect("a dispatch in the last second");
    let results = rig.memory.journal(&batch, rig.now);
    rig.now = second(u64::from(WINDOW_SECONDS));
    assert!(rig.finish(batch, &results).is_empty(), "it came too late");
    assert_eq!(rig.executor.expire(rig.now), [JobNumber(1)]);
    assert_eq!(rig.executor.expire(rig.now), []);
    assert_eq!(rig.executor.expire(rig.now + Duration::from_secs(9)), []);
    rig.over.push(JobNumber(1));
    rig.step();
    let progress = rig.memory.jobs[&JobNumber(1)].1.progress();
    assert_eq!((progress.failed, progress.pending()), (2, 0));
    assert_eq!(rig.outcome(1, 2), None, "its rest says unreachable");
    rig.assert_empty();
}

#[test]
fn a_job_that_comes_after_its_window_begins_nothing() {
    let mut rig = Rig::new(BOUNDS);
    rig.now = second(u64::from(WINDOW_SECONDS) + 5);
    rig.ready([1, 2]);
    let mut ledger = Ledger::sealed((1..=2).collect());
    let flight = InFlight {
        call: old_call(1),
        dispatched: second(u64::from(WINDOW_SECONDS) - 3),
    };
    ledger.dispatch(1, flight).unwrap();
    rig.add_ledger(1, ledger);
    assert!(rig.settle_down().is_empty());
    assert!(rig.is_ended(1));
    assert!(!rig.answer_from(1, old_call(1)));
    rig.assert_empty();
}

#[test]
fn a_cancel_lets_calls_in_flight_end() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([1, 2]);
    rig.add(1, 1..=5);
    let left = rig.settle_down();
    rig.memory.cancel(1, rig.now);
    rig.executor.canceled(JobNumber(1));
    rig.ready(1..=5);
    assert!(rig.settle_down().is_empty());
    rig.answer(left[0]);
    rig.now = second(u64::from(RESPONSE_SECONDS));
    rig.settle_down();
    assert_eq!(rig.outcome(1, 1), Some(&answered()));
    assert_eq!(rig.outcome(1, 2), Some(&Outcome::TimedOut));
    assert_eq!(rig.memory.jobs[&JobNumber(1)].1.progress().canceled, 3);
    assert!(rig.is_ended(1));
    rig.assert_empty();
}

#[test]
fn a_cancelled_job_with_nothing_in_flight_is_forgotten_at_once() {
    let mut rig = Rig::new(BOUNDS);
    rig.add(1, 1..=5);
    rig.add(2, 0..5_000);
    for number in [1, 2] {
        rig.memory.cancel(number, rig.now);
        rig.executor.canceled(JobNumber(number));
    }
    rig.assert_empty();
}

#[test]
fn outcomes_on_their_way_survive_a_cancel() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([1]);
    rig.add(1, [1, 2]);
    let left = rig.settle_down();
    rig.answer(left[0]);
    rig.memory.cancel(1, rig.now);
    rig.executor.canceled(JobNumber(1));
    rig.settle_down();
    assert_eq!(rig.outcome(1, 1), Some(&answered()));
    assert!(rig.is_ended(1));
    rig.assert_empty();
}

#[test]
fn deleted_devices_end_pending_or_in_flight() {
    let mut rig = Rig::new(BOUNDS);
    rig.add(1, 1..=4);
    rig.add(2, 0..100);
    rig.ready([1]);
    let left = rig.settle_down();
    assert_eq!(jobs(&left), [1, 2]);
    for ordinal in [1, 2, 1, 500] {
        rig.executor.deleted(key(ordinal), rig.now);
    }
    assert!(!rig.answer(left[0]));
    rig.settle_down();
    for (number, ordinal) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        assert_eq!(rig.outcome(number, ordinal), Some(&Outcome::Deleted));
    }
    assert_eq!(rig.outcome(1, 3), None);
    rig.ready([2]);
    assert!(rig.settle_down().is_empty());
}

#[test]
fn targets_deleted_before_the_job_came_end_at_once() {
    let mut rig = Rig::new(BOUNDS);
    let deleted: RoaringBitmap = [2, 9].into_iter().collect();
    let ledger = Ledger::sealed([1, 2].into_iter().collect());
    rig.add_job(job(1), ledger, &deleted);
    let ledger = Ledger::sealed([9].into_iter().collect());
    rig.add_job(job(2), ledger, &deleted);
    rig.settle_down();
    assert_eq!(rig.outcome(1, 2), Some(&Outcome::Deleted));
    assert!(rig.is_ended(2));
    assert!(!rig.is_ended(1));
}

#[test]
fn devices_are_found_before_and_after_the_pending_set_becomes_small() {
    let mut rig = Rig::new(BOUNDS);
    rig.add(1, 0..20);
    assert!(rig.executor.probed.contains(&JobNumber(1)));
    assert!(rig.executor.by_device.is_empty());
    rig.ready(0..12);
    let left = rig.settle_down();
    assert_eq!(left.len(), 12);
    assert!(rig.executor.probed.is_empty());
    assert_eq!(rig.executor.by_device.len(), 8);
    rig.ready([15]);
    assert_eq!(ordinals(&rig.settle_down()), [15]);
    // Pending again, and still found.
    rig.closed.insert(16);
    rig.ready([16]);
    assert!(rig.settle_down().is_empty());
    rig.closed.clear();
    rig.ready([16]);
    assert_eq!(ordinals(&rig.settle_down()), [16]);
    assert_eq!(rig.executor.by_device.len(), 6);
}

#[test]
fn answers_wait_a_moment_for_company_and_dispatches_do_not() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([1, 2, 3]);
    rig.add(1, [1, 2, 3, 4]);
    let left = rig.settle_down();
    rig.answer(left[0]);
    let due = rig.now + limits::SETTLE_GROUP_WAIT;
    assert_eq!(rig.begin(), None);
    assert_eq!(rig.executor.wake_at(), due);
    rig.now = Timestamp(due.0 - 1);
    rig.answer(left[1]);
    assert_eq!(rig.begin(), None, "the oldest decides");
    rig.now = due;
    let batch = rig.begin().expect("it is due");
    assert_eq!(batch[0].settled.len(), 2);
    let results = rig.memory.journal(&batch, rig.now);
    rig.finish(batch, &results);
    rig.answer(left[2]);
    rig.ready([4]);
    let batch = rig.begin().expect("a dispatch does not wait");
    assert_eq!((batch[0].dispatched.len(), batch[0].settled.len()), (1, 1));
}

#[test]
fn a_full_batch_of_answers_does_not_wait() {
    let window = 2 * limits::SETTLE_BATCH_MAX;
    let mut rig = Rig::new(Bounds {
        in_flight: window,
        ..BOUNDS
    });
    rig.ready(0..window as u32);
    rig.add(1, 0..window as u32);
    let left = rig.settle_down();
    let (last, rest) = left[..limits::SETTLE_BATCH_MAX]
        .split_last()
        .expect("enough are in flight");
    rest.iter().for_each(|left| assert!(rig.answer(*left)));
    assert!(rig.executor.wake_at() > rig.now);
    rig.answer(*last);
    assert!(rig.executor.wake_at() <= rig.now);
    assert!(!rig.executor.is_full(), "more may come meanwhile");
}

#[test]
fn a_few_large_answers_are_a_full_batch() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready(0..64);
    rig.add(1, 0..64);
    let left = rig.settle_down();
    let text = format!("\"{}\"", "x".repeat(limits::METHOD_PAYLOAD_BYTES_MAX - 2));
    let payload = AnswerPayload::Json(JsonText::parse(text.as_bytes()).unwrap());
    let whole = limits::SETTLE_BATCH_BYTES_MAX / limits::METHOD_PAYLOAD_BYTES_MAX;
    for (place, left) in left.iter().take(4 * whole).enumerate() {
        assert!(!rig.executor.is_full(), "{place}");
        assert_eq!(rig.executor.wake_at() <= rig.now, place >= whole, "{place}");
        rig.executor
            .answered(key(left.ordinal), left.call, 200, payload.clone(), rig.now);
    }
    assert!(rig.executor.is_full());
}

#[test]
fn answered_calls_leave_no_trail_of_deadlines() {
    let mut rig = Rig::new(Bounds {
        in_flight: 100,
        ..BOUNDS
    });
    rig.ready(0..20_000);
    rig.add(1, 0..20_000);
    // The first one never answers, so that its deadline stays in front.
    let mut left = rig.settle_down();
    let silent = left.remove(0);
    rig.answer_all(left);
    let entry = &rig.executor.jobs[&JobNumber(1)];
    assert_eq!(entry.in_flight.len(), 1);
    assert!(
        entry.deadlines.len() <= 2 * DEADLINE_HOLES,
        "{}",
        entry.deadlines.len()
    );
    rig.now = rig.now + Duration::from_secs(u64::from(RESPONSE_SECONDS));
    rig.settle_down();
    assert_eq!(rig.outcome(1, silent.ordinal), Some(&Outcome::TimedOut));
    rig.assert_empty();
}

#[test]
fn many_small_jobs_pass_through_a_small_window() {
    let mut rig = Rig::new(Bounds {
        in_flight: 20,
        ..BOUNDS
    });
    rig.ready(0..50);
    for number in 1..=1_000 {
        let first = (number as u32 * 7) % 45;
        rig.add(number, first..first + 5);
    }
    let left = rig.settle_down();
    assert_eq!(rig.answer_all(left), 5_000);
    rig.assert_empty();
}

#[test]
fn a_batch_repeated_after_a_lost_reply_changes_nothing() {
    let mut rig = Rig::new(BOUNDS);
    rig.ready([1, 2]);
    rig.add(1, [1, 2]);
    let left = rig.settle_down();
    rig.answer(left[0]);
    rig.now = rig.now + limits::SETTLE_GROUP_WAIT;
    let batch = rig.begin().expect("an outcome");
    rig.memory.journal(&batch, rig.now);
    let results = rig.memory.journal(&batch, rig.now);
    assert!(rig.finish(batch, &results).is_empty());
    assert_eq!(rig.outcome(1, 1), Some(&answered()));
    assert_eq!(rig.executor.in_flight(), 1);
}
