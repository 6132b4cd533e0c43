//! Generated queries.

use std::fmt::Write as _;

use proptest::{collection::vec, option, prelude::*, sample::select};

/// What a query ranges over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Devices,
    Modules,
    Jobs,
}

/// Steps from the root of a document.
pub(super) type Steps = Vec<String>;

/// A query in parts.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) source: Source,
    pub(super) top: Option<u64>,
    pub(super) shape: Shape,
    pub(super) filter: Option<String>,
    pub(super) order: Vec<(OrderItem, bool)>,
    /// Items per page.
    pub(super) page: u32,
}

#[derive(Debug, Clone)]
pub(super) enum Shape {
    All,
    Columns(Vec<Steps>),
    Distinct(Vec<Steps>),
    Groups {
        keys: Vec<Steps>,
        aggregates: Vec<(&'static str, Option<Steps>)>,
    },
}

#[derive(Debug, Clone)]
pub(super) enum OrderItem {
    Path(Steps),
    /// Place in the list of aggregates.
    Aggregate(usize),
}

impl Case {
    /// The query's text. Columns are named `c0`, `c1`, ...; those of groups begin with the keys.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("SELECT ");
        if matches!(self.shape, Shape::Distinct(_)) {
            text.push_str("DISTINCT ");
        }
        if let Some(top) = self.top {
            let _ = write!(text, "TOP {top} ");
        }
        let columns: Vec<String> = match &self.shape {
            Shape::All => vec!["*".to_owned()],
            Shape::Columns(paths) | Shape::Distinct(paths) => {
                named(paths.iter().map(|path| spelled(path)))
            }
            Shape::Groups { keys, aggregates } => named(
                keys.iter()
                    .map(|path| spelled(path))
                    .chain(aggregates.iter().map(call)),
            ),
        };
        let source = match self.source {
            Source::Devices => "devices",
            Source::Modules => "devices.modules",
            Source::Jobs => "devices.jobs",
        };
        let _ = write!(text, "{} FROM {source}", columns.join(", "));
        if let Some(filter) = &self.filter {
            let _ = write!(text, " WHERE {filter}");
        }
        if let Shape::Groups { keys, .. } = &self.shape
            && !keys.is_empty()
        {
            let keys: Vec<_> = keys.iter().map(|path| spelled(path)).collect();
            let _ = write!(text, " GROUP BY {}", keys.join(", "));
        }
        let order: Vec<_> = self.order.iter().map(|item| self.ordered(item)).collect();
        if !order.is_empty() {
            let _ = write!(text, " ORDER BY {}", order.join(", "));
        }
        text
    }

    fn ordered(&self, (item, descends): &(OrderItem, bool)) -> String {
        let word = if *descends { " DESC" } else { "" };
        match (item, &self.shape) {
            (OrderItem::Path(path), _) => format!("{}{word}", spelled(path)),
            (OrderItem::Aggregate(place), Shape::Groups { aggregates, .. }) => {
                format!("{}{word}", call(&aggregates[*place]))
            }
            (OrderItem::Aggregate(_), _) => panic!("only groups have aggregates"),
        }
    }
}

fn named(columns: impl Iterator<Item = String>) -> Vec<String> {
    let name = |(n, column)| format!("{column} AS c{n}");
    columns.enumerate().map(name).collect()
}

fn call((function, path): &(&'static str, Option<Steps>)) -> String {
    let path = path.as_ref().map(|path| spelled(path)).unwrap_or_default();
    format!("{function}({path})")
}

fn spelled(path: &[String]) -> String {
    let mut text = path[0].clone();
    for step in &path[1..] {
        let _ = write!(text, "[{}]", quoted(step));
    }
    text
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Keys that twins and answers of the fleets have, plain and odd.
pub(super) const KEYS: [&str; 8] = ["a", "b", "A", "a-b", "é😀", "it's", "q\"t", "back\\slash"];

/// Strings that twins and answers of the fleets have.
pub(super) const TEXTS: [&str; 9] = [
    "",
    "a",
    "aa",
    "B",
    "10",
    "zoë",
    "it's \"so\"",
    "tab\there",
    "🦀",
];

const TWIN_FIELDS: &[&str] = &[
    "deviceId",
    "moduleId",
    "managedBy",
    "etag",
    "deviceEtag",
    "status",
    "statusReason",
    "statusUpdateTime",
    "connectionState",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
    "authenticationType",
    "x509Thumbprint",
    "x509Thumbprint.primaryThumbprint",
    "modelId",
    "version",
    "capabilities",
    "capabilities.iotEdge",
    "deviceScope",
    "parentScopes",
    "properties.desired.$version",
    "properties.reported.$version",
    "properties.desired.$metadata.$lastUpdated",
    "configurations",
    "configurations.a",
    "configurations.a.status",
    "configurations.it's.status",
    "configurations.gone.status",
];

/// Too long to be ordered by in full beside others.
const TWIN_SECTIONS: &[&str] = &[
    "tags",
    "properties",
    "properties.desired",
    "properties.reported",
    "properties.desired.$metadata",
    "properties.reported.$metadata",
];

const JOB_FIELDS: &[&str] = &[
    "deviceId",
    "moduleId",
    "jobId",
    "jobType",
    "status",
    "startTimeUtc",
    "endTimeUtc",
    "createdDateTimeUtc",
    "lastUpdatedDateTimeUtc",
    "outcome",
    "outcome.deviceMethodResponse",
    "outcome.deviceMethodResponse.status",
    "outcome.deviceMethodResponse.payload",
    "error",
    "error.code",
    "error.description",
];

fn steps(dotted: &str) -> Steps {
    dotted.split('.').map(str::to_owned).collect()
}

/// A path whose values are short.
fn path(source: Source) -> BoxedStrategy<Steps> {
    let keys = || vec(select(&KEYS[..]).prop_map(str::to_owned), 1..3);
    let below = |root: &'static str| {
        keys().prop_map(move |keys| {
            let mut path = steps(root);
            path.extend(keys);
            path
        })
    };
    if source == Source::Jobs {
        return prop_oneof![
            3 => select(JOB_FIELDS).prop_map(steps),
            1 => below("outcome.deviceMethodResponse.payload"),
        ]
        .boxed();
    }
    let stamped = prop_oneof![
        below("properties.desired.$metadata"),
        below("properties.reported.$metadata"),
    ];
    let stamp = select(&["$lastUpdated", "$lastUpdatedVersion"][..]);
    prop_oneof![
        2 => select(TWIN_FIELDS).prop_map(steps),
        2 => below("tags"),
        1 => below("properties.desired"),
        1 => below("properties.reported"),
        1 => (stamped, stamp).prop_map(|(mut path, stamp)| {
            path.push(stamp.to_owned());
            path
        }),
    ]
    .boxed()
}

fn any_path(source: Source) -> BoxedStrategy<Steps> {
    match source {
        Source::Jobs => path(source),
        Source::Devices | Source::Modules => prop_oneof![
            4 => path(source),
            1 => select(TWIN_SECTIONS).prop_map(steps),
        ]
        .boxed(),
    }
}

fn literal() -> impl Strategy<Value = String> {
    let words = [
        "enabled",
        "Disconnected",
        "Applied",
        "Targeted",
        "completed",
        "cancelled",
        "running",
        "pending",
        "2031-02-03T04:05:07Z",
        "2031-02-03T04:05:08.0000000Z",
    ];
    prop_oneof![
        3 => select(&TEXTS[..]).prop_map(quoted),
        2 => select(words.to_vec()).prop_map(quoted),
        3 => (-2i32..4).prop_map(|n| n.to_string()),
        1 => Just("0.5".to_owned()),
        1 => select(vec!["true", "false", "null", "undefined"]).prop_map(str::to_owned),
    ]
}

/// What the store may narrow a scan by.
fn confined(source: Source) -> BoxedStrategy<String> {
    let device = || (0u32..14).prop_map(|n| format!("'d{n}'"));
    let one = device().prop_map(|id| format!("deviceId = {id}"));
    let some = vec(device(), 0..5).prop_map(|ids| format!("deviceId IN [{}]", ids.join(", ")));
    let job = vec(select(vec!["'j0'", "'j1'", "'j2'", "'never'"]), 1..3)
        .prop_map(|ids| format!("jobId IN [{}]", ids.join(", ")));
    match source {
        Source::Jobs => prop_oneof![one, some, job].boxed(),
        Source::Devices | Source::Modules => prop_oneof![one, some].boxed(),
    }
}

fn filter(source: Source) -> BoxedStrategy<String> {
    let path = move || any_path(source).prop_map(|path| spelled(&path));
    let operator = || select(vec!["=", "!=", "<>", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        4 => (path(), operator(), literal()).prop_map(|(p, op, l)| format!("{p} {op} {l}")),
        1 => (path(), operator(), path()).prop_map(|(p, op, q)| format!("{p} {op} {q}")),
        1 => (path(), any::<bool>(), vec(literal(), 0..4)).prop_map(|(p, not, list)| {
            let not = if not { "NOT " } else { "" };
            format!("{p} {not}IN [{}]", list.join(", "))
        }),
        2 => confined(source),
        1 => path().prop_map(|p| format!("IS_DEFINED({p})")),
        1 => (select(vec!["IS_STRING", "IS_NUMBER", "IS_ARRAY", "IS_OBJECT", "IS_NULL"]), path())
            .prop_map(|(function, p)| format!("{function}({p})")),
        1 => (path(), literal()).prop_map(|(p, l)| format!("STARTSWITH({p}, {l})")),
        1 => path().prop_map(|p| format!("LENGTH({p}) > 1")),
        1 => path().prop_map(|p| format!("{p} + 1 > 2")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" AND "))),
            vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" OR "))),
            inner.prop_map(|one| format!("(NOT {one})")),
        ]
    })
    .boxed()
}

fn shape(source: Source) -> BoxedStrategy<Shape> {
    let function = select(vec!["COUNT", "SUM", "AVG", "MIN", "MAX"]);
    let over_path = (function, path(source)).prop_map(|(name, path)| (name, Some(path)));
    let aggregate = prop_oneof![1 => Just(("COUNT", None)), 3 => over_path];
    prop_oneof![
        2 => Just(Shape::All),
        3 => vec(any_path(source), 1..4).prop_map(Shape::Columns),
        2 => vec(path(source), 1..3).prop_map(Shape::Distinct),
        4 => (vec(path(source), 0..3), vec(aggregate, 0..4)).prop_map(|(keys, mut aggregates)| {
            if keys.is_empty() && aggregates.is_empty() {
                aggregates.push(("COUNT", None));
            }
            Shape::Groups { keys, aggregates }
        }),
    ]
    .boxed()
}

/// What such rows, or groups, can be ordered by.
fn order_item(source: Source, shape: &Shape) -> Option<BoxedStrategy<OrderItem>> {
    let choices: Vec<OrderItem> = match shape {
        Shape::All | Shape::Columns(_) => {
            return Some(path(source).prop_map(OrderItem::Path).boxed());
        }
        Shape::Distinct(paths) => paths.iter().cloned().map(OrderItem::Path).collect(),
        Shape::Groups { keys, aggregates } => {
            let keys = keys.iter().cloned().map(OrderItem::Path);
            let places = 0..aggregates.len();
            keys.chain(places.map(OrderItem::Aggregate)).collect()
        }
    };
    (!choices.is_empty()).then(|| select(choices).boxed())
}

/// Any query.
pub(super) fn case() -> impl Strategy<Value = Case> {
    let source = prop_oneof![
        3 => Just(Source::Devices),
        1 => Just(Source::Modules),
        2 => Just(Source::Jobs),
    ];
    let shaped = source.prop_flat_map(|source| (Just(source), shape(source)));
    shaped.prop_flat_map(|(source, shape)| {
        let item = order_item(source, &shape).expect("every shape has something");
        (
            (Just(source), Just(shape)),
            option::weighted(0.2, 0u64..8),
            option::weighted(0.6, filter(source)),
            vec((item, any::<bool>()), 0..3),
            prop_oneof![2 => 1u32..6, 1 => Just(100)],
        )
            .prop_map(|((source, shape), top, filter, order, page)| Case {
                source,
                top,
                shape,
                filter,
                order,
                page,
            })
    })
}
