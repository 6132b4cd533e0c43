//! What may happen in a history: a small world to begin with, and steps in any order.
//!
//! Steps name people and jobs by number; a step that makes no sense where it stands (a cancel before any
//! job) does nothing, so that a script stays playable whatever is taken out of it.

use std::fmt;

use proptest::{collection::vec, prelude::*};

/// Devices `d0` to `d4`.
pub(super) const DEVICES: usize = 5;
/// Modules `d0/m`, `d1/m`.
pub(super) const MODULES: usize = 2;
pub(super) const PEOPLE: usize = DEVICES + MODULES;

#[derive(Clone)]
pub(super) struct Script {
    pub(super) people: Vec<Beginning>,
    /// Target sets may need more than one record.
    pub(super) is_wide: bool,
    /// Commits of a job between two checkpoints of its journal.
    pub(super) checkpoint_every: u32,
    pub(super) steps: Vec<(Step, After)>,
}

impl fmt::Debug for Script {
    /// A line for each step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            is_wide,
            checkpoint_every,
            ..
        } = self;
        writeln!(
            f,
            "wide: {is_wide}, a checkpoint every {checkpoint_every} commits"
        )?;
        for (who, beginning) in self.people.iter().enumerate() {
            writeln!(f, "{who}: {beginning:?}")?;
        }
        for (step, after) in &self.steps {
            writeln!(f, "{step:?}, {after:?}")?;
        }
        Ok(())
    }
}

/// How somebody begins.
#[derive(Debug, Clone)]
pub(super) struct Beginning {
    pub(super) group: Group,
    /// Connected, and how.
    pub(super) manner: Option<Manner>,
    pub(super) is_disabled: bool,
    /// Its desired properties are nearly as large as they may be.
    pub(super) is_full: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Group {
    A,
    B,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Manner {
    /// Answers every call by itself.
    Answers,
    /// Answers only when a step says so.
    Silent,
    /// Is connected, and takes no calls.
    Unsubscribed,
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) kind: Kind,
    /// Seconds from now; negative is the past.
    pub(super) start: Option<i64>,
    pub(super) window_seconds: u32,
}

#[derive(Debug, Clone)]
pub(super) enum Target {
    Everyone,
    Group(Group),
    One(usize),
    HighFloor,
    Connected,
    Modules,
    ModulesOf(usize),
    Nobody,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Method {
        response_seconds: u32,
    },
    /// Sets `desired.floor`.
    Floor(u8),
    /// Sets desired properties that a full twin has no room for.
    Large,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Schedule(Plan),
    /// The same request once more.
    Repeat(u8),
    Cancel(u8),
    Connect(usize, Manner),
    Disconnect(usize),
    /// The connection is dead, and the hub does not know yet.
    Vanish(usize),
    Subscribe(usize),
    Unsubscribe(usize),
    /// Somebody answers one of the calls it ever got.
    Answer(usize, u8, Body),
    /// Somebody answers a call of the second one.
    AnswerForOther(usize, usize, u8),
    /// Somebody answers a call that never was.
    AnswerInvented(usize),
    AllAnswer,
    SetGroup(usize, Group),
    SetFloor(usize, u8),
    Create(usize),
    Delete(usize),
    Disable(usize),
    Wait(u32),
    /// From the commit after so many more on, the disk is full.
    FillDisk(u8),
    /// The commit after so many more happens, and says it did not.
    LoseResult(u8),
    Heal,
    /// The process dies; the next one starts after so many milliseconds.
    Kill(u32, Return),
    /// The process stops; the next one starts after so many milliseconds.
    Stop(u32, Return),
    Maintain,
}

/// What the devices that were connected do when the next process is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Return {
    AtOnce,
    Never,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    Text,
    Large,
    Empty,
    Garbled,
}

/// How much happens after a step before the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum After {
    /// Everything that needs no time.
    Settled,
    /// So many turns of the other tasks.
    Turns(u8),
}

pub(super) fn scripts() -> impl Strategy<Value = Script> {
    let step = (steps(), afters()).prop_map(|step| vec![step]);
    let steps = prop_oneof![
        30 => step,
        1 => half_starts(),
        1 => late_answers(),
        1 => lost_cancels(),
    ];
    let world = (
        vec(beginnings(), PEOPLE),
        prop::bool::weighted(0.3),
        1..8_u32,
    );
    (world, vec(steps, 4..44)).prop_map(|((people, is_wide, checkpoint_every), steps)| Script {
        people,
        is_wide,
        checkpoint_every,
        steps: steps.into_iter().flatten().collect(),
    })
}

/// A job whose start fails half way, and a world that has changed when it is tried again.
fn half_starts() -> impl Strategy<Value = Vec<(Step, After)>> {
    let kinds = prop_oneof![
        Just(Kind::Floor(1)),
        Just(Kind::Method {
            response_seconds: 15
        })
    ];
    let flags = (prop::bool::ANY, prop::bool::ANY);
    (0..DEVICES, 1..5_u8, kinds, flags).prop_map(|(device, commits, kind, flags)| {
        let (is_everyone, dies) = flags;
        let plan = Plan {
            target: match is_everyone {
                true => Target::Everyone,
                false => Target::One(device),
            },
            kind,
            start: None,
            window_seconds: 600,
        };
        let again = match dies {
            true => Step::Kill(0, Return::AtOnce),
            false => Step::Wait(6_000),
        };
        let steps = [
            Step::FillDisk(commits),
            Step::Schedule(plan),
            Step::Heal,
            Step::Delete(device),
            again,
        ];
        steps.map(|step| (step, After::Settled)).into()
    })
}

/// A call of a process that died, answered to the next one.
fn late_answers() -> impl Strategy<Value = Vec<(Step, After)>> {
    (0..PEOPLE, plans(), afters(), any::<u8>()).prop_map(|(who, plan, after, pick)| {
        vec![
            (Step::Connect(who, Manner::Silent), After::Settled),
            (Step::Schedule(plan), after),
            (Step::Kill(1_000, Return::Never), after),
            (Step::Connect(who, Manner::Silent), after),
            (Step::Answer(who, pick, Body::Text), after),
        ]
    })
}

/// A cancel that happened and was not answered, and a device that the job would call.
fn lost_cancels() -> impl Strategy<Value = Vec<(Step, After)>> {
    let plan = Plan {
        target: Target::Everyone,
        kind: Kind::Method {
            response_seconds: 60,
        },
        start: None,
        window_seconds: 600,
    };
    (0..PEOPLE, any::<u8>(), afters(), prop::bool::ANY).prop_map(
        move |(who, pick, after, is_new)| {
            let schedule = is_new.then(|| (Step::Schedule(plan.clone()), after));
            let steps = [
                (Step::LoseResult(0), After::Turns(0)),
                (Step::Cancel(pick), after),
                (Step::Connect(who, Manner::Answers), after),
            ];
            schedule.into_iter().chain(steps).collect()
        },
    )
}

fn beginnings() -> impl Strategy<Value = Beginning> {
    let manner = prop_oneof![
        4 => Just(Some(Manner::Answers)),
        4 => Just(Some(Manner::Silent)),
        1 => Just(Some(Manner::Unsubscribed)),
        3 => Just(None),
    ];
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.15));
    (groups(), manner, flags).prop_map(|(group, manner, (is_disabled, is_full))| Beginning {
        group,
        manner,
        is_disabled,
        is_full,
    })
}

fn groups() -> impl Strategy<Value = Group> {
    prop_oneof![Just(Group::A), Just(Group::B)]
}

fn manners() -> impl Strategy<Value = Manner> {
    prop_oneof![
        3 => Just(Manner::Answers),
        3 => Just(Manner::Silent),
        1 => Just(Manner::Unsubscribed),
    ]
}

fn afters() -> impl Strategy<Value = After> {
    prop_oneof![
        3 => Just(After::Settled),
        2 => (0..40_u8).prop_map(After::Turns),
    ]
}

fn returns() -> impl Strategy<Value = Return> {
    prop_oneof![3 => Just(Return::AtOnce), 1 => Just(Return::Never)]
}

fn plans() -> impl Strategy<Value = Plan> {
    let target = prop_oneof![
        8 => Just(Target::Everyone),
        2 => groups().prop_map(Target::Group),
        2 => (0..DEVICES).prop_map(Target::One),
        1 => Just(Target::HighFloor),
        1 => Just(Target::Connected),
        2 => Just(Target::Modules),
        1 => (0..MODULES).prop_map(Target::ModulesOf),
        1 => Just(Target::Nobody),
    ];
    let kind = prop_oneof![
        7 => prop::sample::select(vec![60_u32, 5, 15, 300])
            .prop_map(|response_seconds| Kind::Method { response_seconds }),
        2 => (0..9_u8).prop_map(Kind::Floor),
        1 => Just(Kind::Large),
    ];
    let start = prop_oneof![
        4 => Just(None),
        1 => Just(Some(-40_i64)),
        2 => (1..120_i64).prop_map(Some),
    ];
    let window = prop::sample::select(vec![600_u32, 5, 40, 600, 600, 1, 4_000]);
    (target, kind, start, window).prop_map(|(target, kind, start, window_seconds)| Plan {
        target,
        kind,
        start,
        window_seconds,
    })
}

fn steps() -> impl Strategy<Value = Step> {
    let who = || 0..PEOPLE;
    let bodies = prop_oneof![
        4 => Just(Body::Text),
        2 => Just(Body::Large),
        1 => Just(Body::Empty),
        2 => Just(Body::Garbled),
    ];
    let spans = || {
        prop::sample::select(vec![
            1_000_u32, 4, 6_000, 31_000, 1_000, 61_000, 200_000, 700_000,
        ])
    };
    let downs = || prop::sample::select(vec![0_u32, 1_000, 20_000, 400_000]);
    let people = prop_oneof![
        9 => (who(), manners()).prop_map(|(who, manner)| Step::Connect(who, manner)),
        3 => who().prop_map(Step::Disconnect),
        2 => who().prop_map(Step::Vanish),
        1 => who().prop_map(Step::Subscribe),
        1 => who().prop_map(Step::Unsubscribe),
        20 => (who(), any::<u8>(), bodies).prop_map(|(who, pick, body)| Step::Answer(who, pick, body)),
        1 => (who(), who(), any::<u8>())
            .prop_map(|(who, whose, pick)| Step::AnswerForOther(who, whose, pick)),
        1 => who().prop_map(Step::AnswerInvented),
        3 => Just(Step::AllAnswer),
    ];
    let registry = prop_oneof![
        1 => (who(), groups()).prop_map(|(who, group)| Step::SetGroup(who, group)),
        2 => (who(), 0..9_u8).prop_map(|(who, floor)| Step::SetFloor(who, floor)),
        4 => who().prop_map(Step::Create),
        3 => who().prop_map(Step::Delete),
        1 => who().prop_map(Step::Disable),
    ];
    let faults = prop_oneof![
        4 => (0..6_u8).prop_map(Step::FillDisk),
        3 => (0..5_u8).prop_map(Step::LoseResult),
        9 => Just(Step::Heal),
        4 => (downs(), returns()).prop_map(|(down, back)| Step::Kill(down, back)),
        2 => (downs(), returns()).prop_map(|(down, back)| Step::Stop(down, back)),
        1 => Just(Step::Maintain),
    ];
    prop_oneof![
        7 => plans().prop_map(Step::Schedule),
        1 => any::<u8>().prop_map(Step::Repeat),
        2 => any::<u8>().prop_map(Step::Cancel),
        14 => people,
        3 => registry,
        4 => spans().prop_map(Step::Wait),
        4 => faults,
    ]
}
