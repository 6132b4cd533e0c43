//! Third stage: syntax to a bound query. Every name is looked up here, and only here.
//!
//! Also here: literals compared with a field that has one spelling per value are brought to that
//! spelling, so that evaluation compares strings and nothing else.

mod select;

pub use self::select::Selection;
pub(super) use self::select::{BoundSelect, bind_select};
use super::ast::{self, Aggregate, Comparison, PathExpr};
use super::bound::{Expr, Source};
use super::error::{QueryError, Span, quote};
use super::functions::Function;
use super::path::{
    JOB_FIELDS, JobField, Keys, Path, PropertySection, ROOT_FIELDS, RootField, Section,
};
use super::value::Literal;

/// Binds a condition, which selects identities and so never ranges over rows of jobs.
pub(super) fn bind_targets(
    text: &str,
    targets: ast::Targets,
) -> Result<(Source, Option<Expr>), QueryError> {
    let binder = Binder::new(text, targets.source.as_ref())?;
    if let (Source::Jobs, Some(named)) = (binder.source, &targets.source) {
        let message = "A condition selects from devices or devices.modules, not from devices.jobs";
        return Err(QueryError::new(text, named.span, message));
    }
    let filter = targets
        .filter
        .map(|filter| binder.expr(filter))
        .transpose()?;
    Ok((binder.source, filter))
}

struct Binder<'t> {
    text: &'t str,
    source: Source,
    alias: Option<Box<str>>,
}

impl<'t> Binder<'t> {
    fn new(text: &'t str, named: Option<&ast::SourceName>) -> Result<Self, QueryError> {
        let Some(named) = named else {
            return Ok(Self {
                text,
                source: Source::Devices,
                alias: None,
            });
        };
        let mut alias = named.alias.clone();
        let source = match &named.steps[..] {
            [all] if is(all, "devices") => Source::Devices,
            [all, inner] if is(all, "devices") && is(inner, "modules") => Source::Modules,
            [all, inner] if is(all, "devices") && is(inner, "jobs") => Source::Jobs,
            // Portal tooling names the collection of devices so. compat: QUERY-12
            [all] if is(all, "c") => {
                alias.get_or_insert_with(|| all.clone());
                Source::Devices
            }
            _ => {
                let message = format!(
                    "Unknown source {}, there are devices, devices.modules and devices.jobs",
                    quote(&named.steps.join("."))
                );
                return Err(QueryError::new(text, named.span, message));
            }
        };
        Ok(Self {
            text,
            source,
            alias,
        })
    }

    // --- expressions

    fn expr(&self, expr: ast::Expr) -> Result<Expr, QueryError> {
        let all = |operands: Vec<ast::Expr>| {
            operands
                .into_iter()
                .map(|operand| self.expr(operand))
                .collect::<Result<_, _>>()
        };
        let both = |operands: Box<[ast::Expr; 2]>| -> Result<Box<[Expr; 2]>, QueryError> {
            let [left, right] = *operands;
            Ok(Box::new([self.expr(left)?, self.expr(right)?]))
        };
        Ok(match expr {
            ast::Expr::Literal(literal) => Expr::Constant(literal),
            ast::Expr::Path(path) => Expr::Path(self.path(path)?),
            ast::Expr::List(_) => Expr::List,
            ast::Expr::Not(operand) => Expr::Not(Box::new(self.expr(*operand)?)),
            ast::Expr::Negate(operand) => match self.expr(*operand)? {
                Expr::Constant(Literal::Number(n)) => Expr::Constant(Literal::Number(-n)),
                operand => Expr::Negate(Box::new(operand)),
            },
            ast::Expr::And(operands) => Expr::And(all(operands)?),
            ast::Expr::Or(operands) => Expr::Or(all(operands)?),
            ast::Expr::Compare(op, operands) => compare(op, both(operands)?),
            ast::Expr::Arithmetic(op, operands) => Expr::Arithmetic(op, both(operands)?),
            ast::Expr::In {
                operand,
                negated,
                list,
            } => {
                let operand = Box::new(self.expr(*operand)?);
                let set = list.into_iter().map(|literal| match &*operand {
                    Expr::Path(path) => align(path, literal),
                    _ => literal,
                });
                let set = Box::new(set.collect());
                Expr::In {
                    operand,
                    negated,
                    set,
                }
            }
            ast::Expr::Call {
                name,
                arguments,
                span,
            } => {
                let function = self.function(&name, arguments.len(), span)?;
                Expr::Call(function, all(arguments)?)
            }
        })
    }

    fn function(&self, name: &str, given: usize, span: Span) -> Result<Function, QueryError> {
        let Some(function) = Function::named(name) else {
            let aggregate = Aggregate::ALL
                .iter()
                .any(|(aggregate, _)| is(name, aggregate));
            let message = if aggregate {
                format!(
                    "{} is an aggregate and stands only after SELECT",
                    quote(name)
                )
            } else {
                format!("Unknown function {}", quote(name))
            };
            return Err(QueryError::new(self.text, span, message));
        };
        let (least, most) = function.arity();
        if given < least || given > most {
            let wanted = match (least, most) {
                (1, 1) => "1 argument".to_owned(),
                (least, usize::MAX) => format!("{least} or more arguments"),
                (least, most) if least == most => format!("{least} arguments"),
                (least, most) => format!("{least} to {most} arguments"),
            };
            let message = format!("{} takes {wanted}, not {given}", function.name());
            return Err(QueryError::new(self.text, span, message));
        }
        Ok(function)
    }

    // --- paths

    fn path(&self, written: PathExpr) -> Result<Path, QueryError> {
        let steps = self.without_prefix(&written.steps);
        let bound = match self.source {
            Source::Devices | Source::Modules => twin_path(steps),
            Source::Jobs => job_path(steps),
        };
        bound.map_err(|message| QueryError::new(self.text, written.span, message))
    }

    /// The steps behind `devices.`, `devices.jobs.`, `devices.modules.` or the alias.
    /// compat: QUERY-11
    fn without_prefix<'s>(&self, steps: &'s [Box<str>]) -> &'s [Box<str>] {
        let collection = match self.source {
            Source::Devices => None,
            Source::Modules => Some("modules"),
            Source::Jobs => Some("jobs"),
        };
        match steps {
            [first, second, rest @ ..]
                if !rest.is_empty()
                    && is(first, "devices")
                    && collection.is_some_and(|collection| is(second, collection)) =>
            {
                rest
            }
            [first, rest @ ..]
                if !rest.is_empty()
                    && (is(first, "devices")
                        || self.alias.as_ref().is_some_and(|alias| is(first, alias))) =>
            {
                rest
            }
            _ => steps,
        }
    }
}

/// A path of a twin document. compat: QUERY-10
fn twin_path(steps: &[Box<str>]) -> Result<Path, String> {
    let first = &steps[0];
    if is(first, "tags") {
        return Ok(Path::Section(Section::Tags, keys(&steps[1..])));
    }
    if is(first, "properties") && steps.len() > 1 {
        let section = match &steps[1] {
            name if is(name, "desired") => PropertySection::Desired,
            name if is(name, "reported") => PropertySection::Reported,
            other => {
                return Err(format!(
                    "Unknown section {}, there are properties.desired and properties.reported",
                    quote(other)
                ));
            }
        };
        return Ok(match &steps[2..] {
            [only] if &**only == "$version" => Path::Version(section),
            [first, rest @ ..] if &**first == "$metadata" => Path::Metadata(section, keys(rest)),
            rest => Path::Section(section.into(), keys(rest)),
        });
    }
    if is(first, "configurations") {
        return configurations_path(&steps[1..]);
    }
    // The identity's name of the same moment. compat: QUERY-13
    if steps.len() == 1 && is(first, "statusUpdatedTime") {
        return Ok(Path::Field(RootField::StatusUpdateTime));
    }
    match find(ROOT_FIELDS, steps)? {
        Some(field) => Ok(Path::Field(field)),
        None => Err(format!(
            "Unknown field {}, below tags and properties any name is allowed",
            quote(&steps.join("."))
        )),
    }
}

/// A path below `configurations`: an id, which is a key, and then `status`, which is a name.
/// compat: QUERY-35
fn configurations_path(steps: &[Box<str>]) -> Result<Path, String> {
    let mut inner = keys(steps);
    if let Some(member) = inner.get_mut(1) {
        canonicalise(member, &["status"]);
    }
    match &inner[..] {
        [] | [_] => Ok(Path::Configurations(inner)),
        [_, member] if &**member == "status" => Ok(Path::Configurations(inner)),
        _ => Err(format!(
            "configurations.[[id]] has no member {}, only status",
            quote(&steps[1..].join("."))
        )),
    }
}

/// A path of a row of `devices.jobs`.
fn job_path(steps: &[Box<str>]) -> Result<Path, String> {
    if is(&steps[0], "outcome") {
        let names: &[&str] = &["deviceMethodResponse", "status", "payload"];
        let mut inner = keys(&steps[1..]);
        for (key, level) in inner.iter_mut().zip([&names[..1], &names[1..]]) {
            canonicalise(key, level);
        }
        return Ok(Path::JobOutcome(inner));
    }
    if is(&steps[0], "error") {
        let mut inner = keys(&steps[1..]);
        if let Some(key) = inner.first_mut() {
            canonicalise(key, &["code", "description"]);
        }
        return Ok(Path::JobError(inner));
    }
    // Names of the documentation's samples for what the rows call otherwise. compat: QUERY-13
    let alias = match steps {
        [only] if is(only, "createdTimeUtc") => Some(JobField::CreatedDateTimeUtc),
        [only] if is(only, "lastUpdatedTimeUtc") => Some(JobField::LastUpdatedDateTimeUtc),
        _ => None,
    };
    if let Some(field) = alias {
        return Ok(Path::Job(field));
    }
    match find(JOB_FIELDS, steps)? {
        Some(field) => Ok(Path::Job(field)),
        None => Err(format!(
            "Unknown field {} of a row of devices.jobs",
            quote(&steps.join("."))
        )),
    }
}

/// The field whose canonical names are `steps` in any case. An error if `steps` go on below a field
/// that has nothing below it.
fn find<F: Copy>(table: &[(F, &[&str])], steps: &[Box<str>]) -> Result<Option<F>, String> {
    let begins = |names: &[&str]| {
        names.len() <= steps.len() && names.iter().zip(steps).all(|(name, step)| is(step, name))
    };
    let mut above = None;
    for (field, names) in table {
        if begins(names) {
            if names.len() == steps.len() {
                return Ok(Some(*field));
            }
            above = Some(names);
        }
    }
    match above {
        Some(names) => Err(format!(
            "{} has no member {}",
            names.join("."),
            quote(&steps[names.len()..].join("."))
        )),
        None => Ok(None),
    }
}

fn is(written: &str, name: &str) -> bool {
    written.eq_ignore_ascii_case(name)
}

fn keys(steps: &[Box<str>]) -> Keys {
    steps.into()
}

fn canonicalise(key: &mut Box<str>, names: &[&str]) {
    if let Some(name) = names.iter().find(|name| is(key, name)) {
        *key = (*name).into();
    }
}

fn compare(op: Comparison, mut operands: Box<[Expr; 2]>) -> Expr {
    match &mut *operands {
        [Expr::Path(path), Expr::Constant(literal)]
        | [Expr::Constant(literal), Expr::Path(path)] => {
            *literal = align(path, std::mem::replace(literal, Literal::Undefined));
        }
        _ => {}
    }
    Expr::Compare(op, operands)
}

/// `literal` in the one spelling the values at `path` have.
fn align(path: &Path, literal: Literal) -> Literal {
    let Literal::String(text) = literal else {
        return literal;
    };
    // Rows say `canceled`, jobs `cancelled`, filters may say either. compat: QUERY-14
    if *path == Path::Job(JobField::Status) && &*text == "cancelled" {
        return Literal::String("canceled".into());
    }
    if path.is_timestamp()
        && let Some(fixed) = fixed_width(&text)
    {
        return Literal::String(fixed.into());
    }
    Literal::String(text)
}

/// A complete timestamp in the fixed form of stored ones; `None` for anything else, such as a date
/// alone, which orders rightly as it stands. Digits below 100 ns are cut off. compat: QUERY-23
fn fixed_width(text: &str) -> Option<String> {
    if text.len() < "2031-02-03T04:05:06Z".len() || !text.as_bytes()[10].eq_ignore_ascii_case(&b't')
    {
        return None;
    }
    let moment: jiff::Timestamp = text.parse().ok()?;
    let utc = moment.to_zoned(jiff::tz::TimeZone::UTC);
    if !(0..=9999).contains(&utc.year()) {
        return None;
    }
    let ticks = utc.subsec_nanosecond() / 100;
    let seconds = utc.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    // Never is the one stored timestamp without a fraction.
    if ticks == 0 && seconds == "0001-01-01T00:00:00" {
        return Some(seconds + "Z");
    }
    Some(format!("{seconds}.{ticks:07}Z"))
}
