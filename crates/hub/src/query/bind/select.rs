//! Binds what a whole query selects, groups and orders by.
//!
//! DISTINCT is no thing of its own behind this stage: `SELECT DISTINCT a, b` is a group per `a, b`.

use super::super::ast::{self, Aggregate, Column as Written, Item};
use super::super::bound::{Expr, Source};
use super::super::error::{QueryError, Span, quote};
use super::super::groups::{AggregateOf, GroupColumn, GroupValue, Groups};
use super::super::limits::{AGGREGATES_MAX, GROUP_KEYS_MAX, ORDER_KEYS_MAX};
use super::super::order::{OrderBy, OrderKey};
use super::super::path::Path;
use super::super::projection::{Column, Projection};
use super::{Binder, PathExpr};

/// What a query yields: per matching row, or per group of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// `*`: the whole document, which its owner knows how to write.
    Document,
    /// One object per row with these columns.
    Projection(Projection),
    /// One object per group; one in all for aggregates without GROUP BY.
    Groups(Groups),
}

/// A bound query, without its text.
pub(in super::super) struct BoundSelect {
    pub(in super::super) source: Source,
    pub(in super::super) selection: Selection,
    pub(in super::super) top: Option<u64>,
    pub(in super::super) filter: Option<Expr>,
    pub(in super::super) order: Vec<OrderKey>,
}

/// Binds a whole query.
pub(in super::super) fn bind_select(
    text: &str,
    select: ast::Select,
) -> Result<BoundSelect, QueryError> {
    let binder = Binder::new(text, Some(&select.source))?;
    let items = match select.selection {
        ast::Selection::All => None,
        ast::Selection::Items(items) => Some(binder.items(items)?),
    };
    let filter = select
        .filter
        .map(|filter| binder.expr(filter))
        .transpose()?;
    let grouped_at = select.group_by.first().map(|path| path.span);
    let group_by = binder.group_by(select.group_by)?;
    let mut shape = match items {
        None => binder.everything(grouped_at)?,
        Some(items) => binder.shape(items, group_by, select.distinct)?,
    };
    let order = binder.order_by(select.order_by, &mut shape)?;
    Ok(BoundSelect {
        source: binder.source,
        selection: shape.selection(),
        top: select.top,
        filter,
        order,
    })
}

/// A bound item of the select list.
struct BoundItem {
    key: Box<str>,
    column: BoundColumn,
    span: Span,
}

#[derive(Clone, PartialEq)]
enum BoundColumn {
    Path(Path),
    Aggregate(AggregateOf),
}

/// A select list with what becomes of its rows.
struct Shape {
    /// `None` is `*`.
    items: Option<Vec<BoundItem>>,
    /// The paths of the groups; `None` where rows stay rows.
    keys: Option<Vec<Path>>,
    aggregates: Vec<AggregateOf>,
    is_distinct: bool,
}

impl Shape {
    fn selection(self) -> Selection {
        let Some(items) = self.items else {
            return Selection::Document;
        };
        let Some(keys) = self.keys else {
            let columns = items.into_iter().filter_map(|item| match item.column {
                BoundColumn::Path(path) => Some(Column {
                    key: item.key,
                    path,
                }),
                BoundColumn::Aggregate(_) => None,
            });
            return Selection::Projection(Projection::new(columns.collect()));
        };
        let columns = items.into_iter().filter_map(|item| {
            let value = match &item.column {
                BoundColumn::Path(path) => {
                    GroupValue::Key(keys.iter().position(|key| key == path)?)
                }
                BoundColumn::Aggregate(of) => {
                    GroupValue::Aggregate(self.aggregates.iter().position(|a| a == of)?)
                }
            };
            Some(GroupColumn {
                key: item.key,
                value,
            })
        });
        let columns = columns.collect();
        Selection::Groups(Groups::new(keys, self.aggregates, columns))
    }
}

impl Binder<'_> {
    fn refuse<T>(&self, span: Span, message: impl Into<String>) -> Result<T, QueryError> {
        Err(QueryError::new(self.text, span, message))
    }

    fn items(&self, items: Vec<Item>) -> Result<Vec<BoundItem>, QueryError> {
        let mut bound: Vec<BoundItem> = Vec::with_capacity(items.len());
        let mut names = std::collections::HashSet::new();
        for item in items {
            let column = self.column(item.column)?;
            let key = item.alias.unwrap_or_else(|| name_of(&column));
            if !names.insert(key.clone()) {
                let message = format!("Two columns are named {}, name one with AS", quote(&key));
                return self.refuse(item.span, message);
            }
            bound.push(BoundItem {
                key,
                column,
                span: item.span,
            });
        }
        Ok(bound)
    }

    fn column(&self, written: Written) -> Result<BoundColumn, QueryError> {
        Ok(match written {
            Written::Path(path) => BoundColumn::Path(self.path(path)?),
            Written::Aggregate(function, path) => BoundColumn::Aggregate(AggregateOf {
                function,
                path: path.map(|path| self.path(path)).transpose()?,
            }),
        })
    }

    fn group_by(&self, written: Vec<PathExpr>) -> Result<Vec<Path>, QueryError> {
        let mut keys = Vec::new();
        for path in written {
            let span = path.span;
            let path = self.path(path)?;
            if !keys.contains(&path) {
                keys.push(path);
            }
            if keys.len() > GROUP_KEYS_MAX {
                let message = format!("GROUP BY takes at most {GROUP_KEYS_MAX} paths");
                return self.refuse(span, message);
            }
        }
        Ok(keys)
    }

    /// `SELECT *`, whose rows are never equal, so that DISTINCT changes nothing.
    fn everything(&self, grouped_at: Option<Span>) -> Result<Shape, QueryError> {
        if let Some(span) = grouped_at {
            let message = "'*' cannot be grouped, select paths of GROUP BY and aggregates";
            return self.refuse(span, message);
        }
        Ok(Shape {
            items: None,
            keys: None,
            aggregates: Vec::new(),
            is_distinct: false,
        })
    }

    fn shape(
        &self,
        items: Vec<BoundItem>,
        group_by: Vec<Path>,
        distinct: Option<Span>,
    ) -> Result<Shape, QueryError> {
        let mut aggregates: Vec<AggregateOf> = Vec::new();
        let mut paths: Vec<Path> = Vec::new();
        for item in &items {
            match &item.column {
                BoundColumn::Aggregate(of) if !aggregates.contains(of) => {
                    aggregates.push(of.clone());
                    if aggregates.len() > AGGREGATES_MAX {
                        let message = format!("At most {AGGREGATES_MAX} aggregates are allowed");
                        return self.refuse(item.span, message);
                    }
                }
                // One over the bound is enough to be refused, here or as no path of GROUP BY.
                BoundColumn::Path(path)
                    if distinct.is_some()
                        && paths.len() <= GROUP_KEYS_MAX
                        && !paths.contains(path) =>
                {
                    paths.push(path.clone());
                }
                BoundColumn::Aggregate(_) | BoundColumn::Path(_) => {}
            }
        }
        let is_grouped = !group_by.is_empty() || !aggregates.is_empty();
        let keys = match (is_grouped, distinct) {
            (true, distinct) => {
                self.check_grouped(&items, &group_by)?;
                if let Some(span) = distinct
                    && group_by.iter().any(|key| !paths.contains(key))
                {
                    let message = "DISTINCT beside GROUP BY needs every path of GROUP BY selected";
                    return self.refuse(span, message);
                }
                Some(group_by)
            }
            (false, Some(span)) if paths.len() > GROUP_KEYS_MAX => {
                let message = format!("SELECT DISTINCT takes at most {GROUP_KEYS_MAX} columns");
                return self.refuse(span, message);
            }
            (false, Some(_)) => Some(paths),
            (false, None) => None,
        };
        Ok(Shape {
            items: Some(items),
            keys,
            aggregates,
            is_distinct: !is_grouped && distinct.is_some(),
        })
    }

    fn check_grouped(&self, items: &[BoundItem], keys: &[Path]) -> Result<(), QueryError> {
        for item in items {
            if let BoundColumn::Path(path) = &item.column
                && !keys.contains(path)
            {
                let path = quote(&path.to_string());
                let message = format!("{path} stands beside groups and is not in GROUP BY");
                return self.refuse(item.span, message);
            }
        }
        Ok(())
    }

    /// A name alone means the column of that name, if there is one. compat: QUERY-26
    fn order_by(
        &self,
        written: Vec<(Item, ast::Direction)>,
        shape: &mut Shape,
    ) -> Result<Vec<OrderKey>, QueryError> {
        let mut order: Vec<OrderKey> = Vec::new();
        for (item, direction) in written {
            let span = item.span;
            let named = match &item.column {
                Written::Path(path) if path.steps.len() == 1 => {
                    let mut columns = shape.items.iter().flatten();
                    columns.find(|column| column.key == path.steps[0])
                }
                _ => None,
            };
            let column = match named {
                Some(column) => column.column.clone(),
                None => self.column(item.column)?,
            };
            let by = self.ordered_by(column, span, shape)?;
            if order.iter().all(|key| key.by != by) {
                order.push(OrderKey { by, direction });
            }
            if order.len() > ORDER_KEYS_MAX {
                let message = format!("ORDER BY takes at most {ORDER_KEYS_MAX} keys");
                return self.refuse(span, message);
            }
        }
        Ok(order)
    }

    fn ordered_by(
        &self,
        column: BoundColumn,
        span: Span,
        shape: &mut Shape,
    ) -> Result<OrderBy, QueryError> {
        match (column, &shape.keys) {
            (BoundColumn::Path(path), Some(keys)) if !keys.contains(&path) => {
                let path = quote(&path.to_string());
                let message = if shape.is_distinct {
                    format!("{path} is not selected, so DISTINCT rows have no order by it")
                } else {
                    format!("{path} is not in GROUP BY, so groups have no order by it")
                };
                self.refuse(span, message)
            }
            (BoundColumn::Path(path), _) => Ok(OrderBy::Path(path)),
            (BoundColumn::Aggregate(of), Some(_)) if !shape.is_distinct => {
                let place = shape.aggregates.iter().position(|a| *a == of);
                Ok(OrderBy::Aggregate(place.unwrap_or_else(|| {
                    shape.aggregates.push(of);
                    shape.aggregates.len() - 1
                })))
            }
            (BoundColumn::Aggregate(_), _) => self.refuse(
                span,
                "ORDER BY an aggregate needs groups, or aggregates, to order",
            ),
        }
    }
}

/// The key of a column without alias. compat: QUERY-15, QUERY-16
fn name_of(column: &BoundColumn) -> Box<str> {
    match column {
        BoundColumn::Path(path) => path.steps().last().expect("a bound path has a step").into(),
        BoundColumn::Aggregate(of) => Aggregate::name(of.function).to_ascii_lowercase().into(),
    }
}
