//! Plays a script on a real hub over a real store, step by step, and looks at everything after each.
//!
//! Tells what happened as sentences: the story of a failure is what one reads first.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fanfare_hub::{limits, registry::Status, time::Timestamp};
use rusqlite::Connection;
use serde_json::json;

use super::{
    deeds::{identity, text},
    known::{Known, Person},
    script::{After, Beginning, Body, DEVICES, Manner, Return, Script, Step},
    watch::{Held, Watch, hold},
};
use crate::rig::{Disk, FakeLink, Rig, T0};

/// Without any disturbance for so long, nothing may be late: the scheduler looks again by then.
const CALM: Duration = Duration::from_secs(31);

/// What a history was made of.
pub(super) struct Played {
    pub(super) steps: u64,
    pub(super) looks: u64,
    /// How many device jobs ended how.
    pub(super) outcomes: BTreeMap<&'static str, u64>,
}

pub(super) struct Player<'d> {
    disk: &'d Disk,
    /// Absent between two processes.
    rig: Option<Rig>,
    checkpoint_every: u32,
    pub(super) known: Known,
    watch: Watch,
    story: Vec<String>,
    /// Writes fail.
    is_broken: bool,
    /// The last look found that a result is still to be lost.
    was_losing: bool,
    /// When something last failed or died.
    disturbed: Timestamp,
    pub(super) answers: u32,
}

/// Plays a script to its end. An error is the story up to what does not hold.
pub(super) async fn play(script: &Script) -> Result<Played, String> {
    let disk = Disk::in_memory();
    let rig = disk.start(T0);
    rig.store.checkpoint_every(script.checkpoint_every);
    let mut player = Player {
        disk: &disk,
        rig: Some(rig),
        checkpoint_every: script.checkpoint_every,
        known: Known::default(),
        watch: Watch::default(),
        story: Vec::new(),
        is_broken: false,
        was_losing: false,
        disturbed: Timestamp::NEVER,
        answers: 0,
    };
    let held = player.all(script).await;
    let (looks, outcomes) = (player.watch.looks(), player.watch.tally());
    let story = player.story.join("\n  ");
    match held {
        Ok(()) => {
            player.stop_for_good().await;
            let steps = script.steps.len() as u64;
            Ok(Played {
                steps,
                looks,
                outcomes,
            })
        }
        Err(what) => Err(format!("{what}\n  {story}\n  then: {what}")),
    }
}

impl Player<'_> {
    pub(super) fn rig(&self) -> &Rig {
        self.rig.as_ref().expect("a process runs")
    }

    fn rig_mut(&mut self) -> &mut Rig {
        self.rig.as_mut().expect("a process runs")
    }

    async fn stop_for_good(&mut self) {
        if let Some(rig) = self.rig.take() {
            rig.crash().await;
        }
    }

    async fn all(&mut self, script: &Script) -> Held {
        for (who, beginning) in script.people.iter().enumerate() {
            if who == DEVICES - 2 && script.is_wide {
                self.skip_ordinals();
            }
            self.begin(who, beginning).await?;
        }
        for (step, after) in &script.steps {
            let at = self.rig().now().since(T0).as_secs_f64();
            let what = self.step(step).await?;
            if !what.is_empty() {
                self.story.push(format!("{at:9.3} s: {what}, {after:?}"));
            }
            self.pass(*after).await?;
        }
        self.end().await
    }

    /// Heals, runs the clock past every window, and starts once more: all is over and stays so.
    async fn end(&mut self) -> Held {
        self.story.push("at the end".to_owned());
        self.heal();
        self.pass(After::Settled).await?;
        // Time for what was kept from happening until now, before every window ends.
        self.rig().clock.advance(2 * CALM);
        self.pass(After::Settled).await?;
        for _ in 0..3 {
            let deadlines = self.watch.seen.jobs.values().map(|job| job.deadline());
            let last = deadlines.max().unwrap_or(T0).max(self.rig().now());
            self.rig().clock.advance_to(last + CALM);
            self.pass(After::Settled).await?;
        }
        self.watch.everything_ended()?;
        let before = self.watch.seen.clone();
        self.restart(Duration::from_secs(1), Return::Never).await;
        self.pass(After::Settled).await?;
        hold!(
            self.watch.seen == before,
            "after the last start {:?} became {:?}",
            before,
            self.watch.seen
        );
        Ok(())
    }

    async fn begin(&mut self, who: usize, beginning: &Beginning) -> Held {
        let id = identity(who);
        self.known.people.push(Person {
            id,
            key: None,
            is_disabled: false,
            link: None,
            manner: Manner::Silent,
        });
        self.put(who, Status::Enabled).await;
        self.tag(who, beginning.group).await;
        let mut told = format!("{} begins", self.known.people[who].id);
        if beginning.is_full {
            self.desire(
                who,
                json!({"a": text(4_000), "b": text(4_000), "c": text(4_000),
                "d": text(4_000), "e": text(4_000), "f": text(4_000), "g": text(4_000)}),
            )
            .await;
            told += " with a full twin";
        }
        if beginning.is_disabled {
            self.put(who, Status::Disabled).await;
            told += ", disabled";
        }
        if let Some(manner) = beginning.manner {
            self.connect(who, manner);
            told += &format!(", connected ({manner:?})");
        }
        self.story.push(told);
        Ok(())
    }

    /// The next device's place in target sets is in another record than that of those before it.
    fn skip_ordinals(&self) {
        let db = Connection::open(self.disk.path()).expect("the file is there");
        let skipped = db.execute(
            "UPDATE hub SET value = value + ?1 WHERE name = 'device_ordinal'",
            [limits::TARGETS_PER_RECORD],
        );
        assert_eq!(skipped, Ok(1), "there is a device already");
    }

    async fn pass(&mut self, after: After) -> Held {
        self.tidy_links();
        match after {
            After::Turns(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            After::Settled => self.settle().await,
        }
        self.look(after == After::Settled).await?;
        if after == After::Settled && self.is_calm() && self.late().is_err() {
            // A chain of things may need more turns than were given.
            for _ in 0..8 {
                self.settle().await;
            }
            self.look(after == After::Settled).await?;
            self.late()?;
        }
        Ok(())
    }

    async fn settle(&mut self) {
        for _ in 0..3 {
            self.rig().settle_some(4).await;
            self.rig().clock.advance(Duration::from_millis(5));
        }
        self.rig().settle_some(4).await;
        self.tidy_links();
    }

    async fn look(&mut self, is_settled: bool) -> Held {
        let is_losing = self.rig().store.is_losing_a_result();
        if is_losing || self.was_losing {
            self.disturbed = self.rig().now();
        }
        self.was_losing = is_losing;
        hold!(self.rig_mut().is_alive(), "the engine ended");
        let rig = self.rig.as_ref().expect("a process runs");
        self.watch.look(rig, &self.known, is_settled).await
    }

    fn late(&self) -> Held {
        self.watch.nothing_is_late(self.rig(), &self.known)
    }

    fn is_calm(&self) -> bool {
        let is_failing = self.is_broken || self.rig().store.is_losing_a_result();
        !is_failing && self.rig().now() >= self.disturbed + CALM
    }

    /// Front ends notice that a connection was cut.
    fn tidy_links(&mut self) {
        for person in &mut self.known.people {
            if let (Some(rig), Some(link)) = (
                &self.rig,
                person.link.take_if(|link| !link.cuts().is_empty()),
            ) {
                rig.disconnect(&link);
            }
        }
    }

    async fn step(&mut self, step: &Step) -> Result<String, String> {
        Ok(match step {
            Step::Schedule(plan) => self.schedule(plan).await?,
            Step::Repeat(pick) => self.repeat(*pick).await?,
            Step::Cancel(pick) => self.cancel(*pick).await?,
            Step::Connect(who, manner) => match self.connect(*who, *manner) {
                true => format!("{} connects ({manner:?})", self.name(*who)),
                false => String::new(),
            },
            Step::Disconnect(who) => self.with_link(*who, "disconnects", |rig, person, link| {
                rig.disconnect(link);
                person.link = None;
            }),
            Step::Vanish(who) => self.with_link(*who, "vanishes", |_, _, link| link.close()),
            Step::Subscribe(who) => self.with_link(*who, "subscribes", |rig, _, link| {
                rig.make_ready(link);
            }),
            Step::Unsubscribe(who) => self.with_link(*who, "unsubscribes", |rig, _, link| {
                rig.make_unready(link);
            }),
            Step::Answer(who, pick, body) => self.answer(*who, *who, *pick, *body).await,
            Step::AnswerForOther(who, whose, pick) => {
                self.answer(*who, *whose, *pick, Body::Text).await
            }
            Step::AnswerInvented(who) => self.answer_invented(*who).await,
            Step::AllAnswer => self.all_answer().await,
            Step::SetGroup(who, group) => {
                self.tag(*who, *group).await;
                format!("{} moves to {group:?}", self.name(*who))
            }
            Step::SetFloor(who, floor) => {
                self.desire(*who, json!({ "floor": floor })).await;
                format!("{} is sent to floor {floor}", self.name(*who))
            }
            Step::Create(who) => {
                self.put(*who, Status::Enabled).await;
                format!("{} is created or enabled", self.name(*who))
            }
            Step::Delete(who) => self.delete(*who).await,
            Step::Disable(who) if self.known.people[*who].key.is_some() => {
                self.put(*who, Status::Disabled).await;
                format!("{} is disabled", self.name(*who))
            }
            Step::Disable(_) => String::new(),
            Step::Wait(millis) => {
                let span = Duration::from_millis(u64::from(*millis));
                self.rig().clock.advance(span);
                format!("{span:?} pass")
            }
            _ => self.disturb(step).await,
        })
    }

    async fn disturb(&mut self, step: &Step) -> String {
        match step {
            Step::FillDisk(after) => {
                self.trouble();
                self.is_broken = true;
                self.rig().store.crash_after(u64::from(*after));
                format!("the disk is full after {after} commits")
            }
            Step::LoseResult(after) => {
                self.trouble();
                self.was_losing = true;
                self.rig().store.lose_result_after(u64::from(*after));
                format!("the result of a commit is lost after {after} others")
            }
            Step::Heal => {
                self.heal();
                "the disk has room".to_owned()
            }
            Step::Kill(down, back) => {
                let down = Duration::from_millis(u64::from(*down));
                self.restart(down, *back).await;
                format!("the process dies, the next starts after {down:?}, devices return {back:?}")
            }
            Step::Stop(down, back) => {
                let down = Duration::from_millis(u64::from(*down));
                self.heal();
                self.rig_mut().begin_stop();
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                self.rig().clock.advance(Duration::from_secs(9));
                self.rig_mut().stopped().await;
                self.restart(down, *back).await;
                format!(
                    "the process stops, the next starts after {down:?}, devices return {back:?}"
                )
            }
            Step::Maintain => {
                // What fails here is tried again with the next commit.
                let _ = self.rig().store.maintain();
                "journals are merged".to_owned()
            }
            _ => String::new(),
        }
    }

    fn with_link(
        &mut self,
        who: usize,
        does: &str,
        what: impl FnOnce(&Rig, &mut Person, &Arc<FakeLink>),
    ) -> String {
        let (Some(rig), person) = (&self.rig, &mut self.known.people[who]) else {
            return String::new();
        };
        let Some(link) = person.link.clone() else {
            return String::new();
        };
        what(rig, person, &link);
        format!("{} {does}", person.id)
    }

    fn trouble(&mut self) {
        self.known.is_disturbed = true;
        self.disturbed = self.rig().now();
    }

    fn heal(&mut self) {
        self.disturbed = self.rig().now();
        self.is_broken = false;
        self.rig().store.crash_after(u64::MAX);
    }

    async fn restart(&mut self, down: Duration, back: Return) {
        self.trouble();
        self.known.restarts += 1;
        self.is_broken = false;
        let mut returning = Vec::new();
        for (who, person) in self.known.people.iter_mut().enumerate() {
            let link = person.link.take();
            returning.extend(link.is_some().then_some((who, person.manner)));
        }
        let next = self.rig().now() + down;
        self.stop_for_good().await;
        let rig = self.disk.start(next);
        rig.store.checkpoint_every(self.checkpoint_every);
        self.rig = Some(rig);
        self.disturbed = next;
        // Who was deleted is read by every start.
        self.known
            .settled_deletions
            .extend(self.known.deleted.iter());
        if back == Return::AtOnce {
            for (who, manner) in returning {
                self.connect(who, manner);
            }
        }
    }
}
