//! Expressions, by precedence climbing.
//!
//! Depth is bounded both while parsing (brackets) and in the result (chains of operators), so no
//! later stage can run out of stack.

use super::super::ast::{Arithmetic, Binding, Comparison, Expr, is_reserved};
use super::super::error::{QueryError, Span};
use super::super::lexer::{Symbol, Token};
use super::super::limits::LIST_ITEMS_MAX;
use super::super::value::Literal;
use super::Parser;

/// An expression with the number of levels it has.
struct Tall {
    expr: Expr,
    height: u32,
}

/// What the current token does between two operands.
#[derive(Clone, Copy)]
enum Infix {
    And,
    Or,
    Compare(Comparison),
    In { negated: bool },
    Arithmetic(Arithmetic),
}

impl Infix {
    fn binding(self) -> Binding {
        match self {
            Infix::Or => Binding::Or,
            Infix::And => Binding::And,
            Infix::Compare(_) | Infix::In { .. } => Binding::Compare,
            Infix::Arithmetic(op) => op.binding(),
        }
    }
}

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expr, QueryError> {
        Ok(self.operand(Binding::Or)?.expr)
    }

    /// Everything from here that binds at `least` or tighter.
    fn operand(&mut self, least: Binding) -> Result<Tall, QueryError> {
        self.depth += 1;
        self.check_nesting(self.depth)?;
        let mut left = self.prefix(least)?;
        let mut compared = false;
        while let Some(infix) = self.infix() {
            let binding = infix.binding();
            if binding < least {
                break;
            }
            if binding == Binding::Compare && compared {
                return Err(self.fault("Comparisons cannot be chained, join them with AND"));
            }
            compared = binding == Binding::Compare;
            left = self.join(left, infix)?;
            self.check_nesting(left.height)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// `left`, the operator at the current token, and what follows it.
    fn join(&mut self, left: Tall, infix: Infix) -> Result<Tall, QueryError> {
        self.node()?;
        let tighter = infix.binding().tighter();
        match infix {
            Infix::And | Infix::Or => {
                let word = if matches!(infix, Infix::And) {
                    "AND"
                } else {
                    "OR"
                };
                let mut height = left.height;
                let mut operands = vec![left.expr];
                while self.take_keyword(word)? {
                    self.node()?;
                    let next = self.operand(tighter)?;
                    height = height.max(next.height);
                    operands.push(next.expr);
                }
                let expr = if word == "AND" {
                    Expr::And(operands)
                } else {
                    Expr::Or(operands)
                };
                Ok(Tall {
                    expr,
                    height: height + 1,
                })
            }
            Infix::In { negated } => {
                if !self.take_keyword("NIN")? {
                    self.take_keyword("NOT")?;
                    self.expect_keyword("IN")?;
                }
                let list = self.list("a list in square brackets after IN")?;
                let operand = Box::new(left.expr);
                Ok(Tall {
                    expr: Expr::In {
                        operand,
                        negated,
                        list,
                    },
                    height: left.height + 1,
                })
            }
            Infix::Compare(_) | Infix::Arithmetic(_) => {
                self.advance()?;
                let right = self.operand(tighter)?;
                let height = left.height.max(right.height) + 1;
                let operands = Box::new([left.expr, right.expr]);
                let expr = match infix {
                    Infix::Arithmetic(op) => Expr::Arithmetic(op, operands),
                    Infix::Compare(op) => Expr::Compare(op, operands),
                    _ => unreachable!("the outer match leaves only these"),
                };
                Ok(Tall { expr, height })
            }
        }
    }

    fn infix(&self) -> Option<Infix> {
        Some(match &self.token {
            Token::Symbol(symbol) => match symbol {
                Symbol::Equal => Infix::Compare(Comparison::Equal),
                Symbol::NotEqual => Infix::Compare(Comparison::NotEqual),
                Symbol::Less => Infix::Compare(Comparison::Less),
                Symbol::LessEqual => Infix::Compare(Comparison::LessEqual),
                Symbol::Greater => Infix::Compare(Comparison::Greater),
                Symbol::GreaterEqual => Infix::Compare(Comparison::GreaterEqual),
                Symbol::Plus => Infix::Arithmetic(Arithmetic::Add),
                Symbol::Minus => Infix::Arithmetic(Arithmetic::Subtract),
                Symbol::Star => Infix::Arithmetic(Arithmetic::Multiply),
                Symbol::Slash => Infix::Arithmetic(Arithmetic::Divide),
                Symbol::Percent => Infix::Arithmetic(Arithmetic::Remainder),
                _ => return None,
            },
            _ if self.at_keyword("AND") => Infix::And,
            _ if self.at_keyword("OR") => Infix::Or,
            _ if self.at_keyword("IN") => Infix::In { negated: false },
            _ if self.at_keyword("NIN") || self.at_keyword("NOT") => Infix::In { negated: true },
            _ => return None,
        })
    }

    fn prefix(&mut self, least: Binding) -> Result<Tall, QueryError> {
        let leaf = |expr| Tall { expr, height: 1 };
        let span = self.span;
        match self.token.clone() {
            Token::Symbol(Symbol::Open) => {
                self.advance()?;
                let inner = self.operand(Binding::Or)?;
                self.expect_symbol(Symbol::Close)?;
                Ok(inner)
            }
            Token::Symbol(Symbol::Minus) => {
                self.node()?;
                self.advance()?;
                let Tall { expr, height } = self.operand(Binding::Negate)?;
                Ok(Tall {
                    expr: Expr::Negate(Box::new(expr)),
                    height: height + 1,
                })
            }
            Token::Word(word) if word.eq_ignore_ascii_case("NOT") => {
                if least > Binding::Not {
                    return Err(self.fault("NOT needs round brackets around it here"));
                }
                self.node()?;
                self.advance()?;
                let Tall { expr, height } = self.operand(Binding::Not)?;
                Ok(Tall {
                    expr: Expr::Not(Box::new(expr)),
                    height: height + 1,
                })
            }
            Token::Symbol(Symbol::ListOpen) => Ok(leaf(Expr::List(self.list("a list")?))),
            Token::Word(word) if !is_reserved(word) => {
                self.advance()?;
                if self.take_symbol(Symbol::Open)? {
                    return self.call(word, span);
                }
                Ok(leaf(Expr::Path(self.path_from(word, span)?)))
            }
            Token::Name(_) => Ok(leaf(Expr::Path(self.path("a path")?))),
            _ => {
                self.node()?;
                match self.literal()? {
                    Some(literal) => Ok(leaf(Expr::Literal(literal))),
                    None => Err(self.unexpected("a value, a path or a function")),
                }
            }
        }
    }

    /// The rest of `name( ... )`, behind its bracket.
    fn call(&mut self, name: &str, span: Span) -> Result<Tall, QueryError> {
        self.node()?;
        let mut arguments = Vec::new();
        let mut height = 0;
        if !self.at_symbol(Symbol::Close) {
            loop {
                let argument = self.operand(Binding::Or)?;
                height = height.max(argument.height);
                arguments.push(argument.expr);
                if !self.take_symbol(Symbol::Comma)? {
                    break;
                }
            }
        }
        self.expect_symbol(Symbol::Close)?;
        Ok(Tall {
            expr: Expr::Call {
                name: name.into(),
                arguments,
                span,
            },
            height: height + 1,
        })
    }

    fn list(&mut self, expected: &str) -> Result<Vec<Literal>, QueryError> {
        if !self.at_symbol(Symbol::ListOpen) {
            return Err(self.unexpected(expected));
        }
        self.advance()?;
        let mut items = Vec::new();
        if self.take_symbol(Symbol::ListClose)? {
            return Ok(items);
        }
        loop {
            self.list_items += 1;
            if self.list_items > LIST_ITEMS_MAX {
                let message = format!("Lists hold more than {LIST_ITEMS_MAX} values in all");
                return Err(self.fault(message));
            }
            let negative = self.take_symbol(Symbol::Minus)?;
            items.push(match (self.literal()?, negative) {
                (Some(Literal::Number(n)), true) => Literal::Number(-n),
                (Some(literal), false) => literal,
                (Some(_), true) => return Err(self.fault("Only numbers can be negative")),
                (None, true) => return Err(self.unexpected("a number after '-'")),
                (None, false) => return Err(self.unexpected("a literal")),
            });
            if !self.take_symbol(Symbol::Comma)? {
                break;
            }
        }
        self.expect_symbol(Symbol::ListClose)?;
        Ok(items)
    }

    /// The literal at the current token, if it is one.
    fn literal(&mut self) -> Result<Option<Literal>, QueryError> {
        let literal = match &mut self.token {
            Token::Number(n) => Literal::Number(*n),
            Token::String(s) => Literal::String(std::mem::take(s).into()),
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                "null" => Literal::Null,
                "undefined" => Literal::Undefined,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some(literal))
    }
}
