//! Decides which rows need not be looked at: the ids an expression leaves possible.

use super::ast::Comparison;
use super::bound::Expr;
use super::path::Path;
use super::value::Literal;

/// The strings outside of which `field` makes `expr` false or undefined, sorted, each once; `None`
/// if the expression does not confine the field. A superset: rows still have to be evaluated. Holds
/// for documents whose field is a string.
pub(super) fn candidates<'e>(expr: &'e Expr, field: &Path) -> Option<Vec<&'e str>> {
    match expr {
        Expr::Compare(Comparison::Equal, operands) => match &**operands {
            [Expr::Path(path), Expr::Constant(Literal::String(id))]
            | [Expr::Constant(Literal::String(id)), Expr::Path(path)]
                if path == field =>
            {
                Some(vec![id])
            }
            _ => None,
        },
        Expr::In {
            operand,
            negated: false,
            set,
        } => match &**operand {
            Expr::Path(path) if path == field => {
                set.only_strings().map(|ids| sorted(ids.collect()))
            }
            _ => None,
        },
        Expr::And(operands) => {
            let mut confined: Vec<_> = operands
                .iter()
                .filter_map(|operand| candidates(operand, field))
                .collect();
            confined.sort_by_key(Vec::len);
            let mut confined = confined.into_iter();
            let mut fewest = confined.next()?;
            for others in confined {
                fewest.retain(|id| others.binary_search(id).is_ok());
            }
            Some(fewest)
        }
        Expr::Or(operands) => {
            let mut all = Vec::new();
            for operand in operands {
                all.extend(candidates(operand, field)?);
            }
            Some(sorted(all))
        }
        _ => None,
    }
}

fn sorted(mut ids: Vec<&str>) -> Vec<&str> {
    ids.sort_unstable();
    ids.dedup();
    ids
}
